# SPDX-License-Identifier: MIT
"""A QEMU without a processor: the test plays the guest, access by access.

QEMU runs with `-accel qtest`.  Its qtest protocol is lines of text, one command
and one answer each; config space goes through ports 0xcf8/0xcfc.  Since it has
no firmware, the test assigns the BARs itself: map_bars().

Everything QEMU prints lands in a file, log(); the end of the `with` block kills
QEMU, and fails the test if it had already ended by itself.  VGPU_QEMU may name a
QEMU built with --enable-sanitizers: what they report fails the test.
"""
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

# pylint: disable=wrong-import-position
import images  # noqa: E402
import tap  # noqa: E402
from qmp import Qmp  # noqa: E402

TIMEOUT_S = 60
RAM_MIB = 64
SLOT = 4
BAR = {0: 0xe0000000, 2: 0xe0100000, 4: 0xe0200000}
BAR_BYTES = {0: 0x4000, 2: 0x100000, 4: 0x4000}
ALL_ONES = 0xffffffff
# A busy machine must not make a healthy back end look hung.
PATIENT = ",timeout-ms=60000,release-timeout-ms=60000"
# what a QEMU built with sanitizers says of the device
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|vgpu.*runtime error:")
COMMAND_MEMORY, COMMAND_MASTER = 0x2, 0x4


def wait_until(condition, what, timeout_s=TIMEOUT_S):
    """Poll until condition() is true; its value is returned."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            tap.fail(f"waited {timeout_s} s in vain for: {what}")
        time.sleep(0.005)


def shared_ram(mib=RAM_MIB):
    return ["-object", f"memory-backend-memfd,id=ram0,size={mib}M,share=on",
            "-machine", "memory-backend=ram0", "-m", f"{mib}M"]


def base_command(binary):
    return [binary, "-accel", "qtest", "-M", "q35", "-nodefaults", "-display", "none"]


def refusal(*arguments, command=None):
    """Start QEMU with arguments that it must refuse; what it says."""
    command = (command or base_command(images.qemu())) + list(arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, text=True, timeout=TIMEOUT_S, check=False)
    tap.equal(done.returncode, 1, "exit status of a refused start; output:\n" + done.stdout)
    return done.stdout


class Qemu:
    """One QEMU with one vgpu-pci at slot 4, unless `device` is None."""

    def __init__(self, device, *extra, ram=None, command=None):
        self.folder = tempfile.TemporaryDirectory(prefix="vgpu-qtest.")
        ours, theirs = socket.socketpair()
        qmp_ours, qmp_theirs = socket.socketpair()
        arguments = (command or base_command(images.qemu())) + (ram or shared_ram())
        arguments += ["-chardev", f"socket,id=qtest,fd={theirs.fileno()}",
                      "-qtest", "chardev:qtest", "-qtest-log", "/dev/null",
                      "-chardev", f"socket,id=qmp,fd={qmp_theirs.fileno()}",
                      "-mon", "chardev=qmp,mode=control", *extra]
        if device is not None:
            arguments += ["-device", f"vgpu-pci,id=gpu0,addr={SLOT},{device}"]
        self.log_path = os.path.join(self.folder.name, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(theirs.fileno(), qmp_theirs.fileno()))
        theirs.close()
        qmp_theirs.close()
        ours.settimeout(TIMEOUT_S)
        self._socket = ours
        self._lines = ours.makefile("r")
        self._address = None
        try:
            self.qmp = Qmp(qmp_ours, TIMEOUT_S)
        except Exception as error:
            self._end()
            raise AssertionError(f"QEMU does not start: {error}\n{self._last_log}") from error

    def __enter__(self):
        return self

    def __exit__(self, kind, *_rest):
        ended = self.process.poll()
        self._end()
        if kind is None:
            tap.true(not SANITIZER.search(self._last_log), self._last_log)
            tap.equal(ended, None, "QEMU ended by itself; its log:\n" + self._last_log)
        else:
            tap.diagnose(self._last_log)

    def _end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._last_log = self.log()
        self._lines.close()
        self._socket.close()
        self.folder.cleanup()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def monitor(self, line):
        return self.qmp.command("human-monitor-command", command_line=line)

    # ---- the qtest protocol ----

    def send(self, text):
        self._socket.sendall(text.encode() + b"\n")

    def answer(self):
        while True:
            line = self._lines.readline()
            if not line:
                tap.fail("QEMU closed the qtest connection; its log:\n" + self.log())
            if not line.startswith("IRQ "):
                break
        words = line.split()
        tap.equal(words[0], "OK", f"qtest answer {line!r}")
        return words[1] if len(words) > 1 else None

    def command(self, text):
        self.send(text)
        return self.answer()

    def read(self, address, size=4):
        letter = {1: "b", 2: "w", 4: "l", 8: "q"}[size]
        return int(self.command(f"read{letter} {address:#x}"), 0)

    def write(self, address, value, size=4):
        letter = {1: "b", 2: "w", 4: "l", 8: "q"}[size]
        self.command(f"write{letter} {address:#x} {value:#x}")

    def read_bytes(self, address, count):
        return bytes.fromhex(self.command(f"read {address:#x} {count:#x}")[2:])

    def write_bytes(self, address, data):
        self.command(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    # ---- PCI ----

    def config(self, offset, slot=SLOT, bus=0):
        self.command(f"outl 0xcf8 {0x80000000 | bus << 16 | slot << 11 | offset & ~3:#x}")
        return int(self.command("inl 0xcfc"), 0)

    def config_write(self, offset, value, slot=SLOT, bus=0):
        self.command(f"outl 0xcf8 {0x80000000 | bus << 16 | slot << 11 | offset & ~3:#x}")
        self.command(f"outl 0xcfc {value:#x}")

    def set_command(self, bits):
        self.config_write(0x04, bits)

    def map_bars(self, master=True):
        for bar, address in BAR.items():
            self.config_write(0x10 + 4 * bar, address)
            self.config_write(0x14 + 4 * bar, 0)
        self.set_command(COMMAND_MEMORY | (COMMAND_MASTER if master else 0))

    def capability(self, wanted, slot=SLOT):
        at = self.config(0x34, slot) & 0xff
        while at:
            word = self.config(at, slot)
            if word & 0xff == wanted:
                return at
            at = word >> 8 & 0xff
        return None

    def register(self, offset, size=4):
        return self.read(BAR[0] + offset, size)

    def set_register(self, offset, value, size=4):
        self.write(BAR[0] + offset, value, size)

    def ring(self, context, value=1):
        self.write(BAR[2] + context * 0x1000, value)

    # ---- MSI-X: the "message" is a write to RAM, which a test can look at ----

    def msix_enable(self, enable=True, mask_all=False):
        at = self.capability(0x11)
        word = self.config(at) & ~0xc0000000
        self.config_write(at, word | (0x80000000 if enable else 0)
                          | (0x40000000 if mask_all else 0))

    def msix_entry(self, vector, address, data, masked=False):
        entry = BAR[4] + 16 * vector
        self.write(entry, address)
        self.write(entry + 4, 0)
        self.write(entry + 8, data)
        self.write(entry + 12, int(masked))

    def msix_mask(self, vector, masked):
        self.write(BAR[4] + 16 * vector + 12, int(masked))

    def pending(self):
        return self.read(BAR[4] + 0x2000)

    # ---- the connection ----

    def wait_log(self, pattern, count=1):
        def enough():
            found = re.findall(pattern, self.log())
            return found if len(found) >= count else None
        return wait_until(enough, f"{count} x {pattern!r} in QEMU's log")

    def wait_live(self):
        """The device answers.  The test's server has a magic register."""
        wait_until(lambda: self.register(0) != ALL_ONES, "the device to answer")

    def connected(self):
        return self.qmp.command("qom-get", path="/machine/peripheral/gpu0", property="connected")

    def open_fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))
