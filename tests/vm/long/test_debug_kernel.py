#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The driver under a kernel with KASAN, lockdep, DMA-API checks and leak detection.

The kernel log is the judge: after everything that could go wrong was made to go
wrong, it must hold no complaint, and kmemleak must know of no leak.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# pylint: disable=wrong-import-position,wrong-import-order
from vmtest import EXAMPLES, example_passes, program_fails, wait_held, wait_idle  # noqa: E402
import tap  # noqa: E402
from vgpud import Daemon, Vm  # noqa: E402
from vm import Config, Guest  # noqa: E402

MEMORY_MB = 1024    # KASAN takes an eighth, and its quarantine more
BOOT_TIMEOUT_S = 600
COMMAND_TIMEOUT_S = 600
FAILURES_TIMEOUT_S = 1800
LEAKS = "/sys/kernel/debug/kmemleak"


class DebugGuest(Guest):
    """A guest of the debug kernel; everything takes its time there."""

    def __init__(self, daemon, name, **options):
        super().__init__(Config(name=name, socket=daemon.socket("A"), flavour="debug",
                                memory_mb=MEMORY_MB, **options), BOOT_TIMEOUT_S)

    def wait_boot(self, boots=1):
        """Also forget what the rest of the kernel has lost so far."""
        super().wait_boot(boots)
        scan_leaks(self)
        self.check(f"echo clear >{LEAKS}")

    def run(self, command, timeout_s=COMMAND_TIMEOUT_S):
        return super().run(command, max(timeout_s, COMMAND_TIMEOUT_S))

    def check(self, command, timeout_s=COMMAND_TIMEOUT_S):
        return super().check(command, timeout_s)


def scan_leaks(guest):
    """What kmemleak holds for lost: an object counts when a second scan still finds
    no pointer to it."""
    guest.check(f"echo scan >{LEAKS} && echo scan >{LEAKS}")
    return guest.check(f"cat {LEAKS}")


def check_clean(daemon, guest):
    """Nothing is held, lost or complained about.  Leaks are looked for after the
    driver is gone, when nothing of its own can hide one; the calling stacks are then
    bare addresses, which the list of modules places."""
    wait_idle(daemon, "A")
    modules = guest.check("cat /proc/modules")
    guest.check("rmmod vgpu")
    report = scan_leaks(guest)
    if report.strip():
        tap.fail(f"leaks:\n{report}\nthe modules were at:\n{modules}")
    guest.check_kernel_log()


def allow_failures(guest):
    """Let injected failures hit allocations that may sleep, and single pages."""
    for kind in ("failslab", "fail_page_alloc"):
        guest.check(f"echo N >/sys/kernel/debug/{kind}/ignore-gfp-wait")
        guest.check(f"echo 0 >/sys/kernel/debug/{kind}/verbose")
    guest.check("echo 0 >/sys/kernel/debug/fail_page_alloc/min-order")


def examples_are_clean(**options):
    with Daemon([Vm("A", deadline="30s")]) as daemon, \
            DebugGuest(daemon, "debug", **options) as guest:
        guest.driver_up(COMMAND_TIMEOUT_S)
        for command in EXAMPLES:
            example_passes(guest, command)
        program_fails(guest, "fault")
        for _ in range(4):
            guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 4, "four contexts", COMMAND_TIMEOUT_S)
        guest.check("killall -KILL spin")
        check_clean(daemon, guest)


@tap.test("examples and killed programs give the checkers nothing to say")
def plain():
    examples_are_clean()


@tap.test("nor under a vIOMMU")
def viommu():
    examples_are_clean(viommu=True)


@tap.test("unbinding, resetting and reloading under load give the checkers nothing to say")
def life_is_clean():
    with Daemon([Vm("A", deadline="600s")]) as daemon, DebugGuest(daemon, "life") as guest:
        guest.driver_up(COMMAND_TIMEOUT_S)
        address = guest.pci_address()
        for action in (f"echo {address} >/sys/bus/pci/drivers/vgpu/unbind",
                       f"echo 1 >/sys/bus/pci/devices/{address}/reset"):
            held = guest.begin("spin")
            wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context",
                      COMMAND_TIMEOUT_S)
            guest.check(action)
            tap.equal(held.wait(COMMAND_TIMEOUT_S)[0], 1, f"exit status of a program after: {action}")
            guest.run(f"echo {address} >/sys/bus/pci/drivers/vgpu/bind")
            guest.driver_up(COMMAND_TIMEOUT_S)
            wait_idle(daemon, "A")
        check_clean(daemon, guest)


@tap.test("every allocation may fail: of a program's calls and of the probe")
def allocations_fail():
    with Daemon([Vm("A")]) as daemon, DebugGuest(daemon, "failing") as guest:
        guest.driver_up(COMMAND_TIMEOUT_S)
        allow_failures(guest)
        tap.diagnose(guest.check("guest-failnth file", FAILURES_TIMEOUT_S))
        example_passes(guest, "vecadd -n 1024")
        tap.diagnose(guest.check(f"guest-failnth probe {guest.pci_address()}",
                                 FAILURES_TIMEOUT_S))
        guest.driver_up(COMMAND_TIMEOUT_S)
        example_passes(guest, "vecadd -n 1024")
        check_clean(daemon, guest)


if __name__ == "__main__":
    tap.main()
