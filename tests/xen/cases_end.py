# SPDX-License-Identifier: MIT
"""What comes last: Dom0 as the tests leave it, and then its end."""
from xentest import Dom0Error, dom0

# pylint: disable=wrong-import-order
import tap
from agent import AgentLost, poll


@tap.test("end: no domain is left, and neither Xen nor Dom0's kernel has complained")
def nothing_left():
    tap.equal(dom0().domains(), {"Domain-0": 0}, "domains")
    tap.equal(dom0().trouble(), "", "complaint of Xen or Dom0")
    dom0().check_kernel_log()


@tap.test("end: when Dom0 crashes, all that is outstanding ends at once and says why")
def crash():
    running = dom0()
    outstanding = running.begin("sleep 3600")
    running.begin("echo c >/proc/sysrq-trigger")
    try:
        outstanding.wait(120)
        tap.fail("a command has survived the crash")
    except AgentLost:
        pass
    poll(lambda: running.crash, 30, "the crash is noticed")
    tap.contains(running.crash, "Kernel panic", "the reason")
    try:
        dom0()
        tap.fail("the next test got a Dom0")
    except Dom0Error as error:
        tap.contains(str(error), "Kernel panic", "the reason in the next test")
    running.crash_expected = True
