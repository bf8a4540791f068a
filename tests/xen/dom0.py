# SPDX-License-Identifier: MIT
"""Boot the real Xen with a real Dom0 under emulation, and talk to both.

    with Dom0() as dom0:
        dom0.check("xl list")
        domain = dom0.create("t1", tiny_config())

QEMU's instruction translation (TCG) emulates a machine with AMD SVM and nested
paging, Xen runs on that, and Dom0 and HVM guests on Xen.  Dom0's root is the
cached base of scripts/build-xen-dom0.sh with an overlay made here: our programs,
the guests, and an init that starts xenstored, xenconsoled and an agent.

Channels, none of which can mix with another: Xen's own console goes to a file
(every domain's debug port and boot messages too, each line with its "(dN)");
Dom0's agent has a virtio port, and so has each of GUESTS relayed guest consoles.

A watcher reads Xen's console all the time.  When Xen or Dom0 crashes it ends QEMU,
so that everything outstanding fails at once, with the crash as the reason.  QEMU
dies with this process.
"""
import contextlib
import json
import os
import re
import shutil
import socket as sockets
import subprocess
import tempfile
import threading
import time
import types

import images
import tap
from agent import Agent, AgentError, poll
from shell import Shell, ShellError
from vm import die_with_parent

BOOT_TIMEOUT_S = 300    # 15 s alone; a loaded machine may take long
GUESTS = 3              # relayed guest consoles
# of Xen and Dom0; a guest's lines begin with its "(dN)"
CRASH = re.compile(r"^(?!\(d\d).*(Hardware Dom0 (crashed|halted)|Panic on CPU|"
                   r"Manual reset required|Kernel panic|FATAL TRAP|Assertion '.*' failed at)",
                   re.MULTILINE)
TROUBLE = re.compile(r"^(?!\(d\d).*((\(XEN\).*\b|\bkernel )(BUG|WARN) at |\bBUG: |\bOops\b|"
                     r"Call Trace:|blocked for more than|refcount_t:|soft lockup)",
                     re.MULTILINE)
# A PV Dom0 touches user memory without asking, which SMAP forbids.  QEMU 7.2 lets AVX
# instructions pass where CR0.TS forbids them: Xen, which switches that state lazily,
# would leave domains with each other's registers.
CPU = "max,-smap,-xsave,-avx,-avx2"
PROGRAMS = ("vgpud", "vgpuctl", "vgpu-dm")
HERE = os.path.dirname(os.path.abspath(__file__))
# what vgpud wants to know of users
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"


class Dom0Error(ShellError):
    """Dom0 did not do what it was asked, or is gone."""


def xl_text(config):
    """A domain's settings as an xl.cfg: strings, numbers and lists of strings look the
    same there as in JSON."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in config.items())


def hvm_config(**more):
    """What every guest here has in common; None leaves a setting out."""
    config = dict(type="hvm", vcpus=1, nographic=1, vnc=0, vga="none", usb=0, xen_platform_pci=0,
                  tsc_mode="native", on_crash="destroy", on_poweroff="destroy",
                  device_model_version="qemu-xen")
    config.update(more)
    return {key: value for key, value in config.items() if value is not None}


def _libraries(program):
    """Shared libraries of a host program, by the path where the loader looks."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if "not found" in done.stdout:
        raise images.Missing(f"{program} lacks libraries:\n{done.stdout}")
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", done.stdout, re.MULTILINE)


class Overlay:
    """The archive that is appended to Dom0's base: guest path -> host path."""

    def __init__(self, base_files):
        self._lines = []
        self._base = {os.path.basename(path) for path in base_files}

    def file(self, path, source, mode="755"):
        self._lines.append(f"file\t{path}\t{mode}\t{source}\n")

    def program(self, path, source):
        self.file(path, source)
        for library in _libraries(source):
            if os.path.basename(library) not in self._base:
                self.file(library.lstrip("/"), library)

    def write(self, path):
        subprocess.run([os.path.join(images.TOP, "scripts", "mkcpio.py"), path],
                       input="".join(self._lines), text=True, check=True)


def dom0_image():
    """The folder of scripts/build-xen-dom0.sh."""
    return images.script("VGPU_XEN_DOM0", "build-xen-dom0.sh")


class Dom0(Shell):
    """A running Xen with its Dom0; `with` boots and ends it.

    files: guest path -> host path, put into Dom0; missing programs of ours are
    left out, and the tests that need them say so."""

    def __init__(self, files=None, memory_mb=3072, dom0_mb=1280):
        self.files = files or {}
        self.memory_mb, self.dom0_mb = memory_mb, dom0_mb
        self.directory = tempfile.mkdtemp(prefix="vgpu-xen-")
        self.console_path = os.path.join(self.directory, "xen.log")
        self.qemu_log_path = os.path.join(self.directory, "qemu.log")
        self.process = self.agent = None
        self.crash = None
        self.crash_expected = False
        self.guests = []
        self.boot_s = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._closing = threading.Event()

    # -- life ------------------------------------------------------------

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.diagnose()
            self.close()
            raise
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def start(self):
        """Boot, and wait for Dom0's agent."""
        started = time.monotonic()
        names = ["agent"] + [f"guest{i}" for i in range(GUESTS)]
        pairs = [sockets.socketpair() for _ in names]
        with contextlib.ExitStack() as stack:
            for _, theirs in pairs:
                stack.enter_context(theirs)
            log = stack.enter_context(open(self.qemu_log_path, "wb"))
            fds = [theirs.fileno() for _, theirs in pairs]
            command = self._command(self._initrd(), dict(zip(names, fds)))
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds,
                preexec_fn=die_with_parent)
        self.agent, *self.guests = [Agent(ours) for ours, _ in pairs]
        self._watcher.start()
        try:
            self.agent.wait_ready(1, BOOT_TIMEOUT_S)
        except AgentError as error:
            raise Dom0Error(f"Dom0 did not come up: {self.crash or error}") from error
        self.boot_s = time.monotonic() - started

    def close(self):
        """End QEMU and remove everything; safe at any stage."""
        self._closing.set()
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        for agent in [self.agent, *self.guests]:
            if agent:
                agent.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _command(self, initrd, ports):
        image = dom0_image()
        xen = ["console=com1", "com1=115200,8n1", "loglvl=all", "guest_loglvl=all", "noreboot",
               f"dom0_mem={self.dom0_mb}M,max:{self.dom0_mb}M", "dom0_max_vcpus=1",
               "conring_size=1M", "console_timestamps=boot"]
        kernel = f"{image}/vmlinux console=hvc0 loglevel=5 panic=1"
        if any("," in path for path in (kernel, initrd)):
            raise Dom0Error(f"a path with a comma can't be passed to Xen: {initrd}, {image}")
        command = [
            images.stock_qemu(), "-nodefaults", "-no-user-config", "-display", "none",
            "-name", "xen", "-machine", "pc", "-accel", "tcg,thread=multi,tb-size=512",
            # with two processors, both were seen to idle for ever with work to do
            "-cpu", CPU, "-smp", "1", "-m", f"{self.memory_mb}M", "-no-reboot",
            "-chardev", f"file,id=xen,path={self.console_path}", "-serial", "chardev:xen",
            "-device", "virtio-serial-pci",
            "-kernel", f"{image}/xen", "-append", " ".join(xen), "-initrd", f"{kernel},{initrd}"]
        for name, fd in ports.items():
            command += ["-chardev", f"socket,id={name},fd={fd}",
                        "-device", f"virtserialport,chardev={name},name={name}"]
        return command

    def _initrd(self):
        image = dom0_image()
        with open(f"{image}/files", encoding="utf-8") as file:
            overlay = Overlay(file.read().split("\n"))
        overlay.file("init", os.path.join(HERE, "dom0-init.sh"))
        overlay.file("bin/dom0-relay", os.path.join(HERE, "dom0-relay.sh"))
        overlay.file("bin/guest-agent", os.path.join(images.TOP, "scripts", "guest-agent.sh"))
        for name, text in (("passwd", PASSWD), ("group", GROUP), ("xen/xl.conf", "")):
            path = os.path.join(self.directory, os.path.basename(name))
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            overlay.file(f"etc/{name}", path, "644")
        for name in PROGRAMS:
            with contextlib.suppress(images.Missing):
                overlay.program(f"usr/bin/{name}", images.binary(name))
        for guest, host in sorted(self.files.items()):
            overlay.file(guest.lstrip("/"), host)
        part = os.path.join(self.directory, "overlay.cpio")
        overlay.write(part)
        whole = os.path.join(self.directory, "initrd.cpio")
        with open(whole, "wb") as out:
            for path in (f"{image}/base.cpio", part):
                with open(path, "rb") as source:
                    shutil.copyfileobj(source, out)
        return whole

    def _watch(self):
        """End QEMU soon after Xen or Dom0 crashed."""
        seen = 0
        while not self._closing.wait(0.5):
            text = self.console(seen)
            hit = CRASH.search(text)
            if hit:
                self._closing.wait(3)   # for the rest of its message
                self.crash = f"crashed: {_line_around(self.console(seen), hit.start())}"
                self.process.kill()
                return
            if self.process.poll() is not None:
                self.crash = f"QEMU ended with status {self.process.returncode}"
                return
            # the last line may be half written
            seen += text.rfind("\n") + 1

    # -- use -------------------------------------------------------------

    def booted(self):
        return self.boot_s is not None

    def begin(self, command):
        """Start a shell command in Dom0; returns agent.Pending."""
        if self.crash:
            raise Dom0Error(f"Dom0 is gone: {self.crash}")
        return self.agent.start(command)

    def run(self, command, timeout_s=180):
        """Run a shell command in Dom0: (exit status, output)."""
        try:
            return self.begin(command).wait(timeout_s)
        except AgentError as error:
            raise Dom0Error(f"{self.crash or error}, during: {command}") from error

    def put(self, path, text):
        """Write a file in Dom0."""
        self.check(f"cat >{path} <<'EOF'\n{text}\nEOF")

    def xl_create(self, name, config, options="-e", timeout_s=180):
        """xl create: (exit status, what xl said)."""
        self.put(f"/run/{name}.cfg", xl_text(dict(name=name, **config)))
        return self.run(f"xl create {options} /run/{name}.cfg", timeout_s)

    def create(self, name, config, options="-e"):
        """Create a domain, which must succeed."""
        status, output = self.xl_create(name, config, options)
        if status != 0:
            raise Dom0Error(f"xl create {name}: exit status {status}\n{output}\n"
                            f"{self.logs(name)}")
        return Domain(self, name)

    def domains(self):
        """xl list without its heading: {name: id}, zombies as "(null)"."""
        lines = [line.split() for line in self.check("xl list").splitlines()[1:]]
        return {line[0]: int(line[1]) for line in lines if line}

    def logs(self, name=""):
        """What device models and xl wrote."""
        return self.run(f"tail -n 30 /var/log/xen/*{name}*.log")[1]

    # -- what it said ----------------------------------------------------

    def console(self, offset=0):
        """Xen's console from that offset on, in bytes of a latin-1 text."""
        try:
            with open(self.console_path, encoding="latin-1", newline="") as file:
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            return ""

    def trouble(self):
        """A line of Xen's or Dom0's kernel that should not be there, or ""."""
        text = self.console()
        hit = TROUBLE.search(text)
        return _line_around(text, hit.start()) if hit else ""

    def diagnose(self):
        lines = self.console().splitlines()[-60:]
        tap.diagnose(f"--- Dom0: {self.crash or 'running'}; last {len(lines)} lines of Xen's console")
        tap.diagnose("\n".join(lines))
        with contextlib.suppress(OSError), open(self.qemu_log_path, encoding="utf-8",
                                                errors="replace") as file:
            tap.diagnose("--- QEMU: " + file.read()[-2000:])


class Domain(Shell):
    """A domain that `xl create` made."""

    def __init__(self, dom0, name):
        self.dom0, self.name = dom0, name
        self.config = types.SimpleNamespace(name=name)  # as a vm.Guest has it
        self.id = int(dom0.check(f"xl domid {name}"))
        self.agent = None

    def said(self):
        """Lines on its debug port so far."""
        mark = re.compile(rf"\(d{self.id}\) (?:\[[ \d.]+\] )?(.*)")
        return [hit[1].rstrip() for hit in map(mark.search, self.dom0.console().splitlines())
                if hit]

    def wait_said(self, pattern, timeout_s=120):
        """Wait for a line on its debug port; all lines so far."""
        wanted = re.compile(pattern)

        def ready():
            if self.dom0.crash:
                raise Dom0Error(f"Dom0 is gone: {self.dom0.crash}")
            lines = self.said()
            return lines if any(wanted.search(line) for line in lines) else None
        try:
            return poll(ready, timeout_s, f"'{pattern}' from {self.name}", interval_s=0.3)
        except AssertionError:
            tap.diagnose("\n".join(self.said()[-40:]))
            raise

    def connect(self, port, timeout_s=240):
        """Relay its console to one of the ports and wait for the agent in it."""
        agent = self.dom0.guests[port]
        boots = agent.boots
        self.dom0.check(f"dom0-relay {self.id} guest{port} </dev/null >/dev/null 2>&1 &")
        try:
            agent.wait_ready(boots + 1, timeout_s)
        except AgentError as error:
            tap.diagnose("\n".join(self.said()[-40:]))
            raise Dom0Error(f"{self.name}: {self.dom0.crash or error}") from error
        self.agent = agent

    def begin(self, command):
        return self.agent.start(command)

    def run(self, command, timeout_s=180):
        """Run a shell command in the guest: (exit status, output)."""
        try:
            return self.begin(command).wait(timeout_s)
        except AgentError as error:
            raise Dom0Error(f"{self.name}: {self.dom0.crash or error}") from error

    def destroy(self):
        """xl destroy, and wait until nothing of it is left."""
        self.dom0.check(f"xl destroy {self.name}")
        self.wait_gone()

    def wait_gone(self, timeout_s=120):
        """No domain with its id, not even a zombie."""
        poll(lambda: self.id not in self.dom0.domains().values(), timeout_s,
             f"{self.name} (domain {self.id}) is gone", interval_s=0.3)


def _line_around(text, at):
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    return text[start:end if end >= 0 else len(text)].strip()
