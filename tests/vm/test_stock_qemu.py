#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Debian's stock QEMU with the device as a plug-in: the same guest, the same work."""
import shutil
import subprocess
import tempfile

from vmtest import EXAMPLES, example_passes, wait_idle

# pylint: disable=wrong-import-order
import images
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest


@tap.test("the plug-in serves a guest of the stock QEMU")
def plugin_works():
    if not shutil.which("qemu-system-x86_64"):
        raise tap.Skip("qemu-system-x86 is not installed")
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="stock", socket=daemon.socket("A"), stock=True)) as guest:
        tap.contains(guest.check("lspci -nn -d 1234:7667"), "3D controller [0302]", "lspci")
        guest.driver_up()
        for command in EXAMPLES:
            example_passes(guest, command)
        wait_idle(daemon, "A")
        guest.check_kernel_log()


@tap.test("the plug-in refuses a QEMU it was not built for")
def plugin_guards_its_version():
    if not shutil.which("qemu-system-x86_64"):
        raise tap.Skip("qemu-system-x86 is not installed")
    with tempfile.TemporaryDirectory() as folder:
        # the reference QEMU is another build: its structures or its name differ
        done = subprocess.run(
            [images.qemu(), "-plugin", f"file={images.plugin()}", "-machine", "none",
             "-display", "none", "-nodefaults", "-monitor", "none", "-S"],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            check=False)
    tap.true(done.returncode > 0, f"QEMU's exit status {done.returncode}")
    tap.contains(done.stderr.lower(), "vgpu", "QEMU's message")


if __name__ == "__main__":
    tap.main()
