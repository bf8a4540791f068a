# SPDX-License-Identifier: MIT
"""A guest under a kernel with KASAN, lockdep, DMA-API checks and leak detection.

The kernel log is the judge: after everything that could go wrong was made to go wrong, it must
hold no complaint, and kmemleak must know of no leak.  So each guest is judged at the end of its
`with`; the test need only see to it that no program holds the device any more.

Everything takes its time there: with this module every time-out is PATIENCE times as long.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# pylint: disable=wrong-import-position,wrong-import-order
import vmtest  # noqa: E402,F401 pylint: disable=unused-import
import agent  # noqa: E402
import tap  # noqa: E402
from vm import Config, Guest  # noqa: E402

agent.PATIENCE = 5

MEMORY_MB = 1024    # KASAN takes an eighth, and its quarantine more
LEAKS = "/sys/kernel/debug/kmemleak"


def debug_config(**options):
    """A Config for the debug kernel."""
    memory_mb = max(MEMORY_MB, options.pop("memory_mb", 0))
    return Config(flavour="debug", memory_mb=memory_mb, **options)


class DebugGuest(Guest):
    """A guest of the debug kernel; leaving its `with` judges it, if it still runs."""
    starved = False     # allocations failed on purpose: the checkers' own, too, which ends them
    booted_at = 0.0

    def wait_boot(self, boots=1):
        """Also remember when that was: what the kernel itself lost before is not judged."""
        super().wait_boot(boots)
        self.booted_at = uptime(self)

    def __exit__(self, kind, error, trace):
        try:
            if kind is None and self.process.poll() is None:
                check_clean(self)
        except BaseException as complaint:
            super().__exit__(type(complaint), complaint, complaint.__traceback__)
            raise
        super().__exit__(kind, error, trace)


def uptime(guest):
    """In seconds, of the guest's kernel."""
    return float(guest.check("cat /proc/uptime").split()[0])


def leaks_in(report, now, booted_at):
    """The objects of kmemleak's report that the kernel's own boot did not lose: those that are
    younger, and those of the driver's loading."""
    found = []
    for record in report.split("unreferenced object")[1:]:
        who, age = re.search(r'comm "(.*?)",.*\(age ([0-9.]+)s\)', record).groups()
        if who == "insmod" or now - float(age) > booted_at:
            found.append("unreferenced object" + record)
    return found


def scan_leaks(guest):
    """What kmemleak holds for lost: an object counts when a second scan still finds
    no pointer to it.  A scan takes 20 seconds."""
    guest.check(f"echo scan >{LEAKS} && echo scan >{LEAKS}")
    return leaks_in(guest.check(f"cat {LEAKS}"), uptime(guest), guest.booted_at)


def check_clean(guest):
    """Nothing is lost or complained about.  Leaks are looked for after the driver is gone,
    when nothing of its own can hide one; the calling stacks are then bare addresses, which
    the list of modules places."""
    if not guest.starved:
        guest.check("grep -qx N /sys/kernel/debug/dma-api/disabled")
        guest.check("grep -q 'debug_locks: *1$' /proc/lockdep_stats")
    modules = guest.check("cat /proc/modules")
    guest.poll("! grep -q '^vgpu ' /proc/modules || rmmod vgpu")
    leaks = scan_leaks(guest)
    if leaks:
        tap.fail(f"leaks:\n{''.join(leaks)}\nthe modules were at:\n{modules}")
    guest.check_kernel_log()


def guest_of(daemon, name, **options):
    """A guest with the device of the daemon's VM "A"."""
    return DebugGuest(debug_config(name=name, socket=daemon.socket("A"), **options))
