#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The back end's processes killed a few times each; long/test_recovery.py kills more."""
import os
import signal

from vmtest import example_passes, last_line, wait_held, wait_idle

# pylint: disable=wrong-import-order
import recovery
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

recovery.declare(3)


@tap.test("a vm process that stands still is gone within the stall window, and can come back")
def silent_vm_process():
    """VGPU-LIFE-042"""
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name="silent", socket=daemon.socket("A"))) as guest:
        guest.driver_up(recovery.UP_TIMEOUT_S)
        held = guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
        pids = recovery.find_named(daemon, "vgpu-vm")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        status, output = held.wait(recovery.LOST_TIMEOUT_S)
        tap.equal((status, last_line(output)[:2]), (1, "2:"), f"end of the program ({output})")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        guest.driver_up(recovery.UP_TIMEOUT_S)
        example_passes(guest, "vecadd -n 1024")
        wait_idle(daemon, "A")
        guest.check_kernel_log()


if __name__ == "__main__":
    tap.main()
