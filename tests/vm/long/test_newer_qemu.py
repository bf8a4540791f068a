#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A recent QEMU, unchanged, with its own vfio-user client: -device vfio-user-pci.

What docs/operations says of that client holds: the guest works as with vgpu-pci, a
guest reset included, but nothing brings a lost back end back.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# pylint: disable=wrong-import-position,wrong-import-order
from vmtest import (EXAMPLES, example_passes, last_line, program_fails, runs_selftest,  # noqa: E402
                    wait_held, wait_idle)
import images  # noqa: E402
import tap  # noqa: E402
from vgpud import Daemon, Vm  # noqa: E402
from vm import Config, Guest  # noqa: E402

TIMEOUT_S = 300


def pair(daemon, name, **options):
    return Guest(Config(name=name, socket=daemon.socket("A"), vfio_user_pci=True, **options))


@tap.test("that QEMU is recent, and does not know our device")
def recent_and_unchanged():
    def output(*arguments):
        return subprocess.run([images.newer_qemu(), *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=True).stdout
    version = output("--version").split("version ")[1].split()[0]
    tap.diagnose(f"QEMU {version}")
    tap.true([int(part) for part in version.split(".")[:2]] >= [10, 2], f"version {version}")
    devices = output("-device", "help")
    tap.contains(devices, '"vfio-user-pci"', "its devices")
    tap.true("vgpu" not in devices, "vgpu-pci is not among its devices")


@tap.test("vfio-user-pci lists the device and runs the examples")
def examples():
    with Daemon([Vm("A")]) as daemon, pair(daemon, "client") as guest:
        tap.contains(guest.check("lspci -nn -d 1234:7667"), "3D controller [0302]", "lspci")
        tap.contains(guest.check("lspci -vv -d 1234:7667"), "MSI-X: Enable+ Count=32", "lspci -vv")
        guest.driver_up(TIMEOUT_S)
        for command in EXAMPLES:
            example_passes(guest, command)
        wait_idle(daemon, "A")
        guest.check_kernel_log()


@tap.test("vfio-user-pci: what a program may do")
def selftest():
    with Daemon([Vm("A", deadline="5s")]) as daemon, pair(daemon, "client-self") as guest:
        guest.driver_up(TIMEOUT_S)
        runs_selftest(daemon, guest)


@tap.test("vfio-user-pci: translated by a vIOMMU with caching-mode")
def viommu():
    with Daemon([Vm("A")]) as daemon, pair(daemon, "client-iommu", viommu=True) as guest:
        guest.driver_up(TIMEOUT_S)
        for command in EXAMPLES:
            example_passes(guest, command)
        wait_idle(daemon, "A")
        guest.check_kernel_log()


@tap.test("vfio-user-pci: a guest reset in mid-kernel starts over with nothing left behind")
def guest_reset():
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            pair(daemon, "client-reset", allow_reboot=True) as guest:
        for _ in range(3):
            guest.driver_up(TIMEOUT_S)
            guest.begin("spin")
            wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context", TIMEOUT_S)
            guest.reset()
            guest.driver_up(TIMEOUT_S)
            wait_idle(daemon, "A", TIMEOUT_S)
            example_passes(guest, "vecadd -n 1024")
        guest.check_kernel_log()


@tap.test("vfio-user-pci: a back end that dies costs the device, and the guest lives on")
def back_end_dies():
    with Daemon([Vm("A", deadline="600s")]) as daemon, pair(daemon, "client-lost") as guest:
        guest.driver_up(TIMEOUT_S)
        held = guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context", TIMEOUT_S)
        daemon.kill()
        status, output = held.wait(TIMEOUT_S)
        tap.equal((status, last_line(output)[:2]), (1, "2:"), "end of the program")
        daemon.start()
        program_fails(guest, "vgpu-info")
        guest.check_kernel_log()


if __name__ == "__main__":
    tap.main()
