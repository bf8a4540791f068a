# SPDX-License-Identifier: MIT
"""Run the real vgpud for a test, with sockets in a directory of its own.

    with Daemon([Vm("A"), Vm("B", executor="null")]) as daemon:
        Guest(Config(socket=daemon.socket("A")))
        daemon.vm("A")["contexts"]

The daemon dies with this process.  Leaving the `with` sends SIGTERM and expects
a clean end: a daemon that does not end in time, or ends by a signal or with
another status than 0, fails the test, and so does a sanitizer's report in its
log.  On failure the end of the log is printed as TAP diagnostics.
"""
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

import images
import tap
from agent import poll
from vm import die_with_parent

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 30
LOG_TROUBLE = re.compile(r"AddressSanitizer|ThreadSanitizer|runtime error:|LeakSanitizer|"
                         r"Assertion .* failed|stack smashing|buffer overflow detected")


class DaemonError(Exception):
    """vgpud or vgpuctl did not do what it should."""


@dataclasses.dataclass
class Vm:
    """One --vm option."""
    name: str
    executor: str = "cpu"
    memory: str = "1G"
    deadline: str = "60s"
    more: str = ""      # further KEY=VALUE pairs, comma separated

    def option(self, socket):
        text = (f"name={self.name},socket={socket},executor={self.executor},"
                f"memory={self.memory},deadline={self.deadline}")
        return text + ("," + self.more if self.more else "")


class Daemon:
    def __init__(self, vms, arguments=(), program=None):
        self.vms = vms
        self.program = program or images.binary("vgpud")
        self.arguments = list(arguments)
        self.directory = tempfile.mkdtemp(prefix="vgpud-")
        self.control = os.path.join(self.directory, "control.sock")
        self.log_path = os.path.join(self.directory, "vgpud.log")
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.diagnose()
            self.kill()
            self.remove()
            raise
        return self

    def __exit__(self, kind, error, trace):
        failed = kind is not None and not issubclass(kind, tap.Skip)
        try:
            if failed:
                self.diagnose()
                self.kill()
            else:
                self.stop()
        except BaseException:
            self.diagnose()
            self.kill()
            raise
        finally:
            self.remove()

    def socket(self, name):
        return os.path.join(self.directory, name + ".sock")

    def command(self):
        command = [self.program, "--control", self.control,
                   "--runtime-dir", os.path.join(self.directory, "run")]
        for vm in self.vms:
            command += ["--vm", vm.option(self.socket(vm.name))]
        return command + self.arguments

    def start(self):
        """Start the daemon and wait until it listens; also after stop()."""
        os.makedirs(os.path.join(self.directory, "run"), exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent)
        poll(self._listens, START_TIMEOUT_S, "vgpud listens")

    def _listens(self):
        if self.process.poll() is not None:
            raise DaemonError(f"vgpud ended at its start: {self.process.returncode}\n{self.log()}")
        with contextlib.suppress(DaemonError):
            self.ctl("list")
            return all(os.path.exists(self.socket(vm.name)) for vm in self.vms)
        return False

    def stop(self):
        """End it the regular way, and insist that this works."""
        if self.process is None:
            return
        if self.process.poll() is not None:
            raise DaemonError(f"vgpud had ended before: {self.process.returncode}")
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise DaemonError(f"vgpud runs {STOP_TIMEOUT_S} s after SIGTERM") from None
        self.process = None
        if status != 0:
            raise DaemonError(f"vgpud ended with status {status}")
        trouble = LOG_TROUBLE.search(self.log())
        if trouble:
            raise DaemonError(f"vgpud's log: {trouble[0]}")

    def kill(self):
        """End it the hard way (SIGKILL), as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def ctl(self, *arguments):
        """vgpuctl's JSON answer."""
        command = [images.binary("vgpuctl"), "--control", self.control, *arguments, "--json"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise DaemonError(f"{' '.join(arguments)}: status {done.returncode}: {done.stderr}")
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise DaemonError(f"vgpuctl printed no JSON: {done.stdout!r}") from error

    def vm(self, name):
        """The accounting of one VM."""
        for vm in self.ctl("stats")["vms"]:
            if vm["name"] == name:
                return vm
        raise DaemonError(f"no VM {name} in vgpuctl's answer")

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def diagnose(self):
        lines = self.log().splitlines()[-60:]
        state = self.process.poll() if self.process else "stopped"
        tap.diagnose(f"--- vgpud ({'running' if state is None else state}), "
                     f"last {len(lines)} lines of its log")
        if lines:
            tap.diagnose("\n".join(lines))
