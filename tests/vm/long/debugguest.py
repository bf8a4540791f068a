# SPDX-License-Identifier: MIT
"""A guest under a kernel with KASAN, lockdep, DMA-API checks and leak detection.

The kernel log is the judge: after everything that could go wrong was made to go
wrong, it must hold no complaint, and kmemleak must know of no leak.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# pylint: disable=wrong-import-position,wrong-import-order
from vmtest import wait_idle  # noqa: E402
import tap  # noqa: E402
from vm import Config, Guest  # noqa: E402

MEMORY_MB = 1024    # KASAN takes an eighth, and its quarantine more
BOOT_TIMEOUT_S = 600
COMMAND_TIMEOUT_S = 600
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
