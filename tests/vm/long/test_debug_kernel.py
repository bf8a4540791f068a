#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The driver under a kernel with KASAN, lockdep, DMA-API checks and leak detection: see
debugguest.py for who judges."""
import re

from debugguest import COMMAND_TIMEOUT_S, DebugGuest, check_clean
from vmtest import (EXAMPLES, SELFTEST_TIMEOUT_S, example_passes, judge, program_fails, wait_held,
                    wait_idle)

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm

FAILURES_TIMEOUT_S = 1800
SELFTEST_DEADLINE_S = 900   # of each test inside
GROUPS = ("ioctl", "mmap", "fork", "kill")  # of vgpu-selftest


def allow_failures(guest):
    """Let injected failures hit allocations that may sleep, and single pages."""
    for kind in ("failslab", "fail_page_alloc"):
        guest.check(f"echo N >/sys/kernel/debug/{kind}/ignore-gfp-wait")
        guest.check(f"echo 0 >/sys/kernel/debug/{kind}/verbose")
    guest.check("echo 0 >/sys/kernel/debug/fail_page_alloc/min-order")


# Where Linux 6.1 can't enter a new interrupt into its radix tree, it does not notice, and reads through a null
# pointer at once (irq_insert_desc() in kernel/irq/irqdesc.c): a probe may not fail there.
SPARE_RADIX_TREES = "slub_debug=A;-,radix_tree_node log_buf_len=16M"
# Nor does it notice that files of an interrupt in /proc could not be made; it warns when it removes them.
PROC_WARNING = re.compile(r"^[^\n]*cut here(?:(?!cut here|end trace).)*\bremove_proc_entry\+(?:(?!cut here).)*?end trace[^\n]*\n",
                          re.MULTILINE | re.DOTALL)


def examples_are_clean(**options):
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
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


@tap.test("bad calls and killed programs give the checkers nothing to say")
def selftest_is_clean():
    with Daemon([Vm("A", deadline="60s")]) as daemon, DebugGuest(daemon, "debug-self") as guest:
        guest.driver_up(COMMAND_TIMEOUT_S)
        listed = [test for test in guest.check("vgpu-selftest -l").splitlines()
                  if test.split(":")[0] in GROUPS]
        judge(*guest.run(f"vgpu-selftest -t {SELFTEST_DEADLINE_S} {' '.join(GROUPS)}",
                         SELFTEST_TIMEOUT_S), listed)
        check_clean(daemon, guest)


@tap.test("every allocation may fail: of a program's calls and of the probe")
def allocations_fail():
    with Daemon([Vm("A")]) as daemon, DebugGuest(daemon, "failing", append=SPARE_RADIX_TREES) as guest:
        guest.driver_up(COMMAND_TIMEOUT_S)
        allow_failures(guest)
        tap.diagnose(guest.check("guest-failnth file", FAILURES_TIMEOUT_S))
        example_passes(guest, "vecadd -n 1024")
        guest.check("echo Y >/sys/kernel/debug/failslab/cache-filter")
        tap.diagnose(guest.check(f"guest-failnth probe {guest.pci_address()}",
                                 FAILURES_TIMEOUT_S))
        guest.driver_up(COMMAND_TIMEOUT_S)
        example_passes(guest, "vecadd -n 1024")
        log, known = PROC_WARNING.subn("", guest.kernel_log())
        tap.diagnose(f"{known} warnings of files in /proc that were never made")
        guest.check_kernel_log(log)
        guest.check("dmesg -c >/dev/null")
        check_clean(daemon, guest)


if __name__ == "__main__":
    tap.main()
