# SPDX-License-Identifier: MIT
"""Linux guests whose domains end, and whose back end's processes are killed.

Mostly the guest "one" suffers and "two" goes on.  A process is killed in each phase: while a kernel
runs, and while the guest is idle.
"""
import re

from xentest import dom0, example_passes, last_line

# pylint: disable=wrong-import-order
import churn
import linuxguests as lg
import tap
from agent import poll

BUSY_ROUNDS = 100
SMALL = "vecadd -n 1024"
LOSS = r"2:.*context lost: .+"


def lost(request, guest):
    """The program has ended, and its last line says why its context was lost."""
    status, output = request.wait(lg.WAIT_S)
    tap.true(status == 1 and re.fullmatch(LOSS, last_line(output)),
             f"{guest.name}: {request.text}: exit status {status}, output:\n{output}")


def goes_on(guest):
    """The guest lives, and computes with the device."""
    lg.driver_up(guest)
    example_passes(guest, SMALL)
    lg.wait_idle(guest)
    guest.check_kernel_log()


def kill(pid):
    dom0().check(f"kill -9 {pid}")


# -- processes killed --------------------------------------------------------

@tap.test("life: an exec process killed costs its context; the same guest and the other go on")
def exec_killed():
    with lg.dropped_on_failure(*lg.NAMES):
        one, two = lg.guests(*lg.NAMES)
        beside = two.begin(f"{SMALL} -r 20")
        request = lg.spinning(one)
        kill(lg.account(one)["context_list"][0]["pid"])
        lost(request, one)
        tap.equal(beside.wait(lg.WAIT_S)[0], 0, "exit status of the other guest's program")
        goes_on(one)


@tap.test("life: a vm process killed has a successor that takes the domain over; the guest goes on")
def vm_killed():
    with lg.dropped_on_failure(*lg.NAMES):
        one, two = lg.guests(*lg.NAMES)
        for running in (True, False):
            before = lg.account(one)
            beside = two.begin(f"{SMALL} -r 5")
            request = lg.spinning(one) if running else None
            kill(before["pid"])
            if request:
                lost(request, one)
            after = lg.wait_account(one, lambda vm: vm["generation"] > before["generation"],
                                    "a new generation")
            tap.true(after["pid"] != before["pid"], f"another process than {before['pid']}")
            goes_on(one)
            tap.equal(beside.wait(lg.WAIT_S)[0], 0, "exit status of the other guest's program")


def new_vgpud(*domains):
    """Start vgpud as vgpu-dm would, and tell it to serve domains that run."""
    dom0().check(f"vgpud --no-vm </dev/null >>{lg.LOG} 2>&1 &")
    dom0().poll("vgpuctl version")
    for domain in domains:
        dom0().check(f"vgpuctl attach --domid {domain.id} --executor cpu --memory 256M")


@tap.test("life: vgpud killed and started anew takes over the domains that it is told of; guests go on")
def vgpud_killed():
    with lg.dropped_on_failure(*lg.NAMES):
        pair = lg.guests(*lg.NAMES)
        for running in (True, False):
            request = lg.spinning(pair[0]) if running else None
            kill(lg.vgpud_pid())
            poll(lambda: not dom0().run("ps -o args | grep '[r]ole='")[1], lg.WAIT_S,
                 "what vgpud started has ended")
            # a kernel's end is noticed by an access, which waits for the new one
            new_vgpud(*pair)
            if request:
                lost(request, pair[0])
            for guest in pair:
                goes_on(guest)


# -- domains that end --------------------------------------------------------

@tap.test("life: xl reboot under a kernel gives the domain, under its new id, a fresh device")
def reboots():
    with lg.dropped_on_failure(*lg.NAMES):
        one, two = lg.guests(*lg.NAMES)
        lg.spinning(one)
        dom0().check("xl reboot one")
        again = lg.rebooted("one")
        lg.wait_forgotten(one)
        goes_on(again)
        goes_on(two)


@tap.test("life: xl destroy under a kernel leaves no domain, no process, nothing in vgpud")
def destroyed():
    with lg.dropped_on_failure(*lg.NAMES):
        one, two = lg.guests(*lg.NAMES)
        lg.spinning(one)
        lg.drop("one")
        lg.wait_forgotten(one)
        tap.true("one" not in dom0().domains(), "the domain is gone")
        goes_on(two)


@tap.test("life: xl shutdown under a kernel ends the domain, and leaves nothing either")
def shuts_down():
    with lg.dropped_on_failure("two"):
        two, = lg.guests("two")
        # what the kernel runs when it is told to power off; the root has no init that would listen
        two.check("echo '/bin/poweroff -f' >/proc/sys/kernel/poweroff_cmd")
        lg.spinning(two)
        dom0().check("xl shutdown two")
        two.wait_gone(lg.WAIT_S)
        lg.drop("two")
        lg.wait_forgotten(two)


@tap.test("life: a busy guest makes no exits: while the back end polls, commands reach it without any")
def no_exits():
    with lg.dropped_on_failure("two"):
        lg.drop("two")
        # the one processor here is shared: only a back end that polls for longer than Xen takes
        # to switch to the guest can see its next command by itself
        two, = lg.create("two", options=lg.OPTIONS + ",poll-us=1000000")
        before = lg.account(two)
        two.check(f"vecadd -n 1024 -r {BUSY_ROUNDS}", 300)
        after = lg.wait_idle(two)
        done = {key: after[key] - before[key] for key in ("kernels", "commands", "messages", "doorbells")}
        tap.equal(done["kernels"], BUSY_ROUNDS, "kernels")
        tap.true(done["commands"] >= 10 * BUSY_ROUNDS, f"many commands: {done}")
        # what is left: setting a context up and taking it down, looks at the heartbeat
        tap.true(done["messages"] <= done["commands"] // 10, f"few exits: {done}")
        tap.true(done["doorbells"] <= BUSY_ROUNDS // 10, f"few doorbells: {done}")
        tap.diagnose(f"{done}")


@tap.test("life: QEMU killed under a kernel: xl destroy takes the domain away, and vgpud what it held")
def qemu_killed():
    with lg.dropped_on_failure("two"):
        two, = lg.guests("two")
        lg.spinning(two)
        kill(dom0().check(f"xenstore-read /local/domain/{two.id}/image/device-model-pid").strip())
        lg.drop("two")
        lg.wait_forgotten(two)
        tap.equal(dom0().domains(), {"Domain-0": 0}, "domains")


churn.declare(5)
