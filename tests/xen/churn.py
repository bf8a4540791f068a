# SPDX-License-Identifier: MIT
"""Domains with a vGPU created and destroyed again and again: what must be the same afterwards.

test_xen.py takes a few turns, long/test_churn.py fifty.
"""
import re

from xentest import dom0, tiny_config, with_vgpu

# pylint: disable=wrong-import-order
import linuxguests as lg
import tap
from agent import poll

OUTCOME = "one after the other, leave nothing"
OPTIONS = "executor=cpu,memory=64M"
OURS = r"vgpu-dm|role=|qemu-system"


def free_mb():
    """Memory that no domain has, by Xen's own count."""
    return int(re.search(r"^free_memory *: (\d+)", dom0().check("xl info"), re.MULTILINE)[1])


def descriptors():
    return int(dom0().check(f"ls /proc/{lg.vgpud_pid()}/fd | wc -l"))


def one_turn(turn):
    domain = dom0().create("turn", with_vgpu(tiny_config(), OPTIONS))
    vm = lg.account(domain)
    tap.true(vm and vm["attached"], f"turn {turn}: domain {domain.id} is served: {vm}")
    if turn % 2:    # in mid-work, and at its end
        domain.wait_said("^TINY done", 240)
    domain.destroy()
    lg.wait_forgotten(domain)


def churn(turns):
    """What the first turn leaves is what all may leave: a vgpud that was started stays."""
    lg.drop_all()
    one_turn(0)
    before = free_mb(), descriptors()
    for turn in range(1, turns):
        one_turn(turn)
    poll(lambda: free_mb() >= before[0], lg.WAIT_S, f"{before[0]} MiB free again", interval_s=0.5)
    tap.equal(descriptors(), before[1], "vgpud's descriptors")
    tap.equal(dom0().domains(), {"Domain-0": 0}, "domains")
    tap.equal(dom0().run(f"ps -o args | grep -v grep | grep -E '{OURS}'")[1], "", "processes left")
    tap.equal(dom0().run("ps -o stat,args | grep '^Z'")[1], "", "zombie processes")
    tap.equal(dom0().check("xenstore-list /local/domain").split(), ["0"], "domains in xenstore")
    tap.equal(dom0().trouble(), "", "complaint of Xen or Dom0")


def declare(turns):
    tap.test(f"churn: {turns} domains created and destroyed, {OUTCOME}")(lambda: churn(turns))
