#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Guest programs that go wrong: each costs its own context and nothing else.

The programs are the examples `fault` (its kernel writes out of bounds) and `spin`
(its kernel never ends).
"""
import contextlib
import os

from vmtest import example_passes, fuzz_ioctls, program_fails, wait_held, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

DEADLINE_S = 8


@contextlib.contextmanager
def pair(deadline=f"{DEADLINE_S}s"):
    """A daemon and a guest; the test done, nothing may be left in either."""
    with Daemon([Vm("A", deadline=deadline)]) as daemon, \
            Guest(Config(name="A", socket=daemon.socket("A"))) as guest:
        guest.driver_up()
        yield daemon, guest
        wait_idle(daemon, "A")
        guest.check_kernel_log()


@tap.test("a kernel that reads out of bounds loses its context, address named; others go on")
def out_of_bounds():
    with pair() as (_, guest):
        running = guest.begin("vecadd -n 500000 -s 3")
        reason = program_fails(guest, "fault")
        tap.contains(reason, "kernel accessed memory outside its allocations", "the reason")
        tap.contains(reason, "0xdead0000", "the address in the reason")
        status, output = running.wait(300)
        tap.equal(status, 0, f"the other program's status ({output})")
        example_passes(guest, "reduce")


@tap.test("a kernel that loops for ever is ended by its deadline")
def endless():
    with pair() as (_, guest):
        running = guest.begin("vecadd -n 500000 -s 4")
        reason = program_fails(guest, "spin")
        tap.contains(reason, "kernel exceeded its deadline", "the reason")
        status, output = running.wait(300)
        tap.equal(status, 0, f"the other program's status ({output})")
        example_passes(guest, "saxpy")


@tap.test("a program killed in mid-kernel leaves nothing behind")
def killed_in_mid_kernel():
    with pair(deadline="600s") as (daemon, guest):
        for signal in ("KILL", "TERM", "SEGV"):
            held = guest.begin("spin")
            wait_held(daemon, "A", lambda vm: vm["contexts"] == 1 and vm["memory_bytes"] > 0
                      and vm["buffers"] > 0, "one context with memory and a buffer")
            guest.check(f"killall -{signal} spin")
            tap.true(held.wait(60)[0] > 128, f"the program died of SIG{signal}")
            wait_idle(daemon, "A")
        example_passes(guest, "vecadd -n 1024")


@tap.test("many programs killed at once leave nothing behind")
def many_killed():
    with pair(deadline="600s") as (daemon, guest):
        for _ in range(8):
            guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 8, "eight contexts", 120)
        guest.check("killall -KILL spin")
        wait_idle(daemon, "A")
        example_passes(guest, "vecadd -n 1024")


@tap.test("random calls to the driver cost their programs and nobody else")
def random_calls():
    with pair() as (_, guest):
        fuzz_ioctls(guest, int(os.environ.get("VGPU_FUZZ_SECONDS", "10")))
        guest.check("test $(cat /sys/class/vgpu/vgpu0/state) = ready")
        example_passes(guest, "vecadd -n 1024")


if __name__ == "__main__":
    tap.main()
