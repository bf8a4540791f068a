#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The driver under a kernel with KASAN, lockdep, DMA-API checks and leak detection.

The kernel log is the judge: after everything that could go wrong was made to go
wrong, it must hold no complaint, and kmemleak must know of no leak.
"""
import re

from vmtest import EXAMPLES, example_passes, program_fails, wait_held, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

MEMORY_MB = 1024    # KASAN takes an eighth, and its quarantine more
LEAKS = "/sys/kernel/debug/kmemleak"


def config(daemon, name, **options):
    return Config(name=name, socket=daemon.socket("A"), flavour="debug", memory_mb=MEMORY_MB,
                  **options)


def check_leaks(guest):
    """kmemleak knows of nothing that belongs to the driver.  An object counts only
    when a second scan still finds no pointer to it."""
    guest.check(f"echo scan >{LEAKS} && echo scan >{LEAKS}")
    report = guest.check(f"cat {LEAKS}")
    if re.search(r"\bvgpu\w*", report):
        tap.fail(f"leaks:\n{report}")


def check_clean(daemon, guest):
    wait_idle(daemon, "A")
    guest.check("rmmod vgpu")
    check_leaks(guest)
    guest.check_kernel_log()


def allow_failures(guest):
    """Let injected failures hit allocations that may sleep, and single pages."""
    for kind in ("failslab", "fail_page_alloc"):
        guest.check(f"echo N >/sys/kernel/debug/{kind}/ignore-gfp-wait")
        guest.check(f"echo 0 >/sys/kernel/debug/{kind}/verbose")
    guest.check("echo 0 >/sys/kernel/debug/fail_page_alloc/min-order")


def examples_are_clean(**options):
    with Daemon([Vm("A", deadline="30s")]) as daemon, \
            Guest(config(daemon, "debug", **options)) as guest:
        guest.driver_up()
        for command in EXAMPLES:
            example_passes(guest, command)
        program_fails(guest, "fault")
        for _ in range(4):
            guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 4, "four contexts")
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
    with Daemon([Vm("A", deadline="600s")]) as daemon, Guest(config(daemon, "life")) as guest:
        guest.driver_up()
        address = guest.pci_address()
        for action in (f"echo {address} >/sys/bus/pci/drivers/vgpu/unbind",
                       f"echo 1 >/sys/bus/pci/devices/{address}/reset"):
            held = guest.begin("spin")
            wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
            guest.check(action)
            tap.equal(held.wait(120)[0], 1, f"exit status of a program after: {action}")
            guest.run(f"echo {address} >/sys/bus/pci/drivers/vgpu/bind")
            guest.driver_up()
            wait_idle(daemon, "A")
        check_clean(daemon, guest)


@tap.test("every allocation may fail: of a program's calls and of the probe")
def allocations_fail():
    with Daemon([Vm("A")]) as daemon, Guest(config(daemon, "failing")) as guest:
        guest.driver_up()
        allow_failures(guest)
        tap.diagnose(guest.check("guest-failnth file", 600))
        example_passes(guest, "vecadd -n 1024")
        tap.diagnose(guest.check(f"guest-failnth probe {guest.pci_address()}", 600))
        guest.driver_up()
        example_passes(guest, "vecadd -n 1024")
        check_clean(daemon, guest)


if __name__ == "__main__":
    tap.main()
