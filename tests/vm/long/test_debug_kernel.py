#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The driver under a kernel with KASAN, lockdep, DMA-API checks and leak detection: see
debugguest.py for who judges."""
import re

from debugguest import check_clean, guest_of, leaks_in
from vmtest import (EXAMPLES, SELFTEST_TIMEOUT_S, example_passes, judge, program_fails, wait_held,
                    wait_idle)

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import GuestError

REPORT = """unreferenced object 0xffff888003a6b000 (size 1024):
  comm "swapper/0", pid 1, jiffies 4294667300 (age 95.450s)
unreferenced object 0xffff888003a6b400 (size 64):
  comm "insmod", pid 60, jiffies 4294667900 (age 70.000s)
unreferenced object 0xffff888003a6b800 (size 32):
  comm "vecadd", pid 70, jiffies 4294669000 (age 10.250s)
"""

FAILURES_TIMEOUT_S = 600
SELFTEST_DEADLINE_S = 900   # of each test inside
GROUPS = ("ioctl", "mmap", "fork", "kill", "queue", "copy", "stress")  # of vgpu-selftest


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


# as the checkers begin what they have to say
COMPLAINTS = (
    "BUG: KASAN: use-after-free in vgpu_ctx_put+0x1/0x2 [vgpu]",
    "WARNING: possible circular locking dependency detected",
    "BUG: sleeping function called from invalid context at mm/slab.h:1",
    "WARNING: CPU: 0 PID: 1 at kernel/dma/debug.c:1 check_unmap+0x1/0x2",
    "DMA-API: vgpu 0000:00:02.0: device driver has pending DMA allocations while released",
    "UBSAN: shift-out-of-bounds in vgpu_wait.c:1",
    "INFO: task vecadd:1 blocked for more than 120 seconds.",
)


@tap.test("of kmemleak's report counts what was lost since the boot, or by the loading")
def leaks_are_told_apart():
    found = leaks_in(REPORT, now=100.0, booted_at=40.0)
    tap.equal([re.search('comm "(.*)"', record)[1] for record in found], ["insmod", "vecadd"],
              "who lost what")
    tap.equal(leaks_in("", 100.0, 40.0), [], "leaks in an empty report")


def is_refused(guest, line, judge_it):
    guest.check(f"echo '{line}' >/dev/kmsg")
    try:
        judge_it()
    except GuestError as error:
        tap.contains(str(error), line, "what the judge says")
    else:
        tap.fail(f"nobody minds: {line}")
    guest.check("dmesg -c >/dev/null")


@tap.test("a line of each checker in the kernel's log fails the test whose guest it is")
def complaints_are_seen():
    with Daemon([Vm("A")]) as daemon, guest_of(daemon, "judged") as guest:
        for line in COMPLAINTS:
            is_refused(guest, line, guest.check_kernel_log)
        is_refused(guest, COMPLAINTS[0], lambda: check_clean(guest))


def examples_are_clean(**options):
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            guest_of(daemon, "debug", **options) as guest:
        guest.driver_up()
        for command in EXAMPLES:
            example_passes(guest, command)
        program_fails(guest, "fault")
        for _ in range(4):
            guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 4, "four contexts")
        guest.check("killall -KILL spin")
        wait_idle(daemon, "A")


@tap.test("examples and killed programs give the checkers nothing to say")
def plain():
    examples_are_clean()


@tap.test("nor under a vIOMMU")
def viommu():
    examples_are_clean(viommu=True)


@tap.test("bad calls and killed programs give the checkers nothing to say")
def selftest_is_clean():
    with Daemon([Vm("A", deadline="60s")]) as daemon, guest_of(daemon, "debug-self") as guest:
        guest.driver_up()
        listed = [test for test in guest.check("vgpu-selftest -l").splitlines()
                  if test.split(":")[0] in GROUPS]
        judge(*guest.run(f"vgpu-selftest -t {SELFTEST_DEADLINE_S} {' '.join(GROUPS)}",
                         SELFTEST_TIMEOUT_S), listed)
        wait_idle(daemon, "A")


@tap.test("every allocation may fail: of a program's calls and of the probe")
def allocations_fail():
    with Daemon([Vm("A")]) as daemon, guest_of(daemon, "failing", append=SPARE_RADIX_TREES) as guest:
        guest.driver_up()
        guest.starved = True
        allow_failures(guest)
        tap.diagnose(guest.check("guest-failnth file", FAILURES_TIMEOUT_S))
        example_passes(guest, "vecadd -n 1024")
        guest.check("echo Y >/sys/kernel/debug/failslab/cache-filter")
        tap.diagnose(guest.check(f"guest-failnth probe {guest.pci_address()}",
                                 FAILURES_TIMEOUT_S))
        guest.driver_up()
        example_passes(guest, "vecadd -n 1024")
        log, known = PROC_WARNING.subn("", guest.kernel_log())
        tap.diagnose(f"{known} warnings of files in /proc that were never made")
        guest.check_kernel_log(log)
        guest.check("dmesg -c >/dev/null")
        wait_idle(daemon, "A")


if __name__ == "__main__":
    tap.main()
