# SPDX-License-Identifier: MIT
"""Boot a test guest, talk to it, end it.

    with Guest(Config(socket=daemon.socket("A"))) as guest:
        status, output = guest.run("vecadd -n 1024")
        guest.check_kernel_log()

A Guest is one QEMU process with a directory of its own.  Three channels connect
it to the test, none of which can mix with another: the kernel's console goes to
a file, the agent (agent.py) and QMP to socket pairs inherited by QEMU, so no
path can collide and the channel exists before the guest does.

The machine is q35 under TCG with shared memfd RAM, which vfio-user needs.  QEMU
dies with this process (PR_SET_PDEATHSIG), so that a killed test leaves nothing
behind.  When a test fails inside the `with`, the ends of the console and of
QEMU's own output are printed as TAP diagnostics.

About one boot in a thousand under TCG hangs in the kernel, before its first process
runs.  Such a guest is started once more, with a note of it that run-tap.py always
shows, and with all that stuck.py finds out.  One that hangs later is a failure.
"""
import contextlib
import ctypes
import dataclasses
import json
import os
import re
import shutil
import signal
import socket as sockets
import subprocess
import tempfile
import time

import images
import tap
from agent import Agent, AgentError, AgentTimeout, poll
import stuck
from hosttsc import tsc_khz
from qmp import Qmp, QmpError
from shell import Shell, ShellError

BOOT_TIMEOUT_S = 120  # a boot takes 3 s; a loaded machine may take long
INIT_RUNS = "guest-init: begins"    # guest-init.sh, on the console
MESSAGE_TIMEOUT_MS = 60000  # of vfio-user-pci, which gives a device up after 5 s by default
PCI_ID = "1234:7667"
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """For preexec_fn: be killed when the test process ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


GuestError = ShellError     # the guest did not do what it was asked


class BootTimeout(GuestError):
    """The guest runs, and its agent did not come up."""


@dataclasses.dataclass
class Config:
    """What kind of machine to boot."""
    name: str = "guest"
    socket: str = ""            # vgpud's socket; "" boots without our device
    device_options: str = ""    # appended to -device vgpu-pci
    stock: bool = False         # Debian's QEMU with the plug-in
    vfio_user_pci: bool = False  # a recent QEMU's own client instead of vgpu-pci
    flavour: str = images.DEFAULT_FLAVOUR
    accel: str = "tcg"          # or "kvm"
    cpus: int = 2
    memory_mb: int = 512
    append: str = ""            # kernel command line
    vgpu_load: bool = True      # let init load the driver
    swiotlb_force: bool = False
    viommu: bool = False
    viommu_lazy: bool = False   # unmapped DMA addresses stay reachable for a while
    hotplug_ports: int = 0      # empty PCIe root ports rp0, rp1, ...
    allow_reboot: bool = False  # a reset restarts the guest instead of ending QEMU
    memory: str = "shared"      # else "private" (a memfd, unshared), "anonymous"
    files: dict = dataclasses.field(default_factory=dict)  # guest path -> host path
    arguments: list = dataclasses.field(default_factory=list)

    def kernel_command_line(self):
        words = ["console=ttyS0", "panic=-1", "loglevel=5", "tsc=reliable"]
        if tsc_khz():
            words.append(f"tsc_early_khz={tsc_khz()}")
        # a busy host may keep a virtual CPU waiting for long; a real hang is
        # found by the test's own time limit as well
        words += ["watchdog_thresh=60", "rcupdate.rcu_cpu_stall_timeout=120"]
        # nor do ticks that come late, when the kernel counts them at boot, mean that the
        # timer does not work: the kernel would panic where interrupts are remapped
        words += ["no_timer_check", *stuck.KERNEL_WORDS]
        # its ciphers are not what is tested here
        words.append("cryptomgr.notests")
        if not self.vgpu_load:
            words.append("vgpu.load=0")
        if self.swiotlb_force:
            words.append("swiotlb=force")
        if self.viommu:
            words += ["intel_iommu=on", "iommu.strict=1"]
        return " ".join(words + ([self.append] if self.append else []))

    def device(self):
        """The -device argument of our device."""
        if self.vfio_user_pci:
            return json.dumps({"driver": "vfio-user-pci", "id": "vgpu0",
                               "socket": {"type": "unix", "path": self.socket},
                               "x-msg-timeout": MESSAGE_TIMEOUT_MS})
        text = f"vgpu-pci,id=vgpu0,socket={self.socket},reconnect-ms=200"
        return text + ("," + self.device_options if self.device_options else "")


def qemu_command(config, initrd, console, agent_fd, qmp_fd):
    """The whole command line."""
    machine = "q35" + (",kernel-irqchip=split" if config.viommu else "")
    memory = []
    if config.memory != "anonymous":
        machine += ",memory-backend=ram0"
        memory = ["-object", f"memory-backend-memfd,id=ram0,size={config.memory_mb}M,"
                  f"share={'on' if config.memory == 'shared' else 'off'}"]
    command = [images.newer_qemu() if config.vfio_user_pci
               else images.stock_qemu() if config.stock else images.qemu()]
    if config.stock:
        command += ["-plugin", f"file={images.plugin()}"]
    command += [
        "-nodefaults", "-no-user-config", "-display", "none",
        "-name", re.sub(r"[^A-Za-z0-9.-]", "-", config.name) + ",debug-threads=on",
        "-accel", "tcg,thread=multi" if config.accel == "tcg" else config.accel,
        # a hypervisor below KVM may not take the register of that feature
        "-machine", machine, "-cpu", "max" if config.accel == "tcg" else "max,arch-capabilities=off",
        "-smp", str(config.cpus), "-m", f"{config.memory_mb}M", *memory,
        "-kernel", images.boot_kernel(config.flavour), "-initrd", initrd,
        "-append", config.kernel_command_line(),
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
        "-chardev", f"socket,id=agent,fd={agent_fd}", "-serial", "chardev:agent",
        "-chardev", f"socket,id=qmp,fd={qmp_fd}", "-mon", "chardev=qmp,mode=control"]
    if not config.allow_reboot:
        command.append("-no-reboot")
    if config.viommu:
        # in front of the devices that it is to translate for
        command += ["-device", "intel-iommu,intremap=on,caching-mode=on"]
    for port in range(config.hotplug_ports):
        command += ["-device", f"pcie-root-port,id=rp{port},chassis={port + 1},slot={port + 1}"]
    if config.socket:
        command += ["-device", config.device()]
    return command + config.arguments


class Guest(Shell):
    """A running guest; see the module's text.  `with` boots and ends it."""

    def __init__(self, config, boot_timeout_s=BOOT_TIMEOUT_S):
        self.config = config
        self.boot_timeout_s = boot_timeout_s
        self.directory = self.console_path = self.qemu_log_path = None
        self.process = self.agent = self.qmp = None
        self.boot_s = None
        self.hung = False       # it did not answer: ask it why

    # -- life ------------------------------------------------------------

    def __enter__(self):
        try:
            self.start()
            self._wait_first_boot()
        except BaseException:
            self.diagnose()
            self.close()
            raise
        return self

    def _wait_first_boot(self):
        """wait_boot(), with a second start where the kernel hung; see the module's text."""
        try:
            self.wait_boot()
        except BootTimeout as error:
            if INIT_RUNS in self.console():
                raise
            tap.note(f"guest {self.config.name} hung before its first process: {error}; "
                     "started again")
            self.diagnose()
            self.close()
            self.start()
            self.wait_boot()

    def __exit__(self, kind, error, trace):
        try:
            if kind is not None and not issubclass(kind, tap.Skip):
                self.hung = self.hung or issubclass(kind, AgentTimeout)
                self.diagnose()
        finally:
            self.close()

    def start(self):
        """Start QEMU; the guest begins to boot."""
        self.directory = tempfile.mkdtemp(prefix="vgpu-vm-")
        self.console_path = os.path.join(self.directory, "console.log")
        self.qemu_log_path = os.path.join(self.directory, "qemu.log")
        initrd = self._initrd()
        agent_ours, agent_theirs = sockets.socketpair()
        qmp_ours, qmp_theirs = sockets.socketpair()
        with agent_theirs, qmp_theirs, open(self.qemu_log_path, "wb") as log:
            fds = (agent_theirs.fileno(), qmp_theirs.fileno())
            command = qemu_command(self.config, initrd, self.console_path, *fds)
            self.started_at = time.monotonic()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds,
                preexec_fn=die_with_parent)
        self.agent = Agent(agent_ours)
        try:
            self.qmp = Qmp(qmp_ours)
        except QmpError as error:
            qmp_ours.close()
            raise GuestError(f"QEMU did not start: {error}\n{self.qemu_log()}") from error

    def wait_boot(self, boots=1):
        """Wait until the guest's agent has come up, for the boots'th time."""
        try:
            self.agent.wait_ready(boots, self.boot_timeout_s)
        except AgentTimeout as error:
            self.hung = True
            raise BootTimeout(str(error)) from error
        except AgentError as error:
            raise GuestError(str(error)) from error
        self.boot_s = time.monotonic() - self.started_at
        if self.config.viommu_lazy:
            self._unmap_lazily()

    def _unmap_lazily(self):
        """Where caching-mode is on the kernel unmaps at once whatever its command line says,
        unless the device's group is told otherwise."""
        group = f"/sys/bus/pci/devices/{self.pci_address()}/iommu_group/type"
        self.check(f"echo DMA-FQ >{group} && grep -qx DMA-FQ {group}")

    def close(self):
        """End QEMU and remove everything; safe at any stage."""
        if self.process and self.process.poll() is None:
            with contextlib.suppress(QmpError):
                if self.qmp:
                    self.qmp.command("quit", timeout_s=10)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.agent:
            self.agent.close()
        if self.qmp:
            self.qmp.close()
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.process = self.agent = self.qmp = None
        self.hung = False

    # -- use -------------------------------------------------------------

    def begin(self, command):
        """Start a shell command in the guest; returns agent.Pending."""
        return self.agent.start(command)

    def run(self, command, timeout_s=120):
        """Run a shell command in the guest: (exit status, output)."""
        return self.begin(command).wait(timeout_s)

    def reset(self):
        """Reset the machine, as its button does, and wait for the next boot."""
        boots = self.agent.boots
        self.qmp.command("system_reset")
        self.wait_boot(boots + 1)

    def wait_exit(self, timeout_s=60):
        """Wait for QEMU to end by itself; its exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise GuestError(f"QEMU still runs after {timeout_s} s") from None

    def pci_address(self):
        """Our device's address in the guest, "" if it is not there."""
        output = self.check(f"lspci -D -d {PCI_ID}")
        return output.split()[0] if output.strip() else ""

    def driver_up(self, timeout_s=60):
        """Wait until the driver offers a usable device."""
        return self.poll("vgpu-info", timeout_s)

    # -- what it said ----------------------------------------------------

    def console(self):
        return _text_of(self.console_path)

    def qemu_log(self):
        return _text_of(self.qemu_log_path)

    def diagnose(self):
        state = "not started" if not self.process else self.process.poll()
        tap.diagnose(f"--- guest {self.config.name}: QEMU "
                     f"{'is running' if state is None else f'ended: {state}'}")
        for title, text in (("QEMU", self.qemu_log()), ("console", self.console())):
            lines = text.splitlines()[-40:]
            tap.diagnose(f"--- {self.config.name}, {title}, last {len(lines)} lines")
            if lines:
                tap.diagnose("\n".join(lines))
        if self.hung:
            tap.diagnose(f"--- {self.config.name} does not answer")
            tap.diagnose("\n".join(stuck.report(self)))

    def _initrd(self):
        """The initramfs, with the test's own files appended."""
        base = images.initrd(self.config.flavour)
        if not self.config.files:
            return base
        overlay = os.path.join(self.directory, "overlay.cpio")
        manifest = "".join(f"file\t{guest}\t755\t{host}\n"
                           for guest, host in sorted(self.config.files.items()))
        subprocess.run([os.path.join(images.TOP, "scripts", "mkcpio.py"), overlay],
                       input=manifest, text=True, check=True)
        whole = os.path.join(self.directory, "initrd.cpio")
        with open(whole, "wb") as out:
            for part in (base, overlay):
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, out)
        return whole


def _text_of(path):
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
