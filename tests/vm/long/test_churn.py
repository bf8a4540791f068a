#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The device opened and closed more than 10,000 times under one boot of the guest; its driver
loaded and unloaded a hundred times."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# pylint: disable=wrong-import-position,wrong-import-order
from vmtest import example_passes, judge, wait_idle  # noqa: E402
import loads  # noqa: E402
import recovery  # noqa: E402
import tap  # noqa: E402
from vgpud import Daemon, Vm  # noqa: E402
from vm import Config, Guest  # noqa: E402

TEST = "300 openings and closings"  # of vgpu-selftest
TURNS = 34
TURN_TIMEOUT_S = 600
SLACK_KB = 8192     # of the kernel's slabs; a leak of 1 KiB per opening exceeds it


def slab_kb(guest):
    """Kernel memory in use that only a leak keeps growing."""
    guest.check("echo 3 >/proc/sys/vm/drop_caches")
    return int(guest.check("awk '/^SUnreclaim:/ {print $2}' /proc/meminfo"))


@tap.test("10,200 openings and closings leave nothing, in the guest or on the host")
def churn():
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="churn", socket=daemon.socket("A"))) as guest:
        guest.driver_up()
        kernel = descriptors = None
        for turn in range(TURNS):
            judge(*guest.run(f"vgpu-selftest '{TEST}'", TURN_TIMEOUT_S), [f"stress: {TEST}"])
            wait_idle(daemon, "A")
            if turn == 1:
                kernel, descriptors = slab_kb(guest), recovery.descriptors(daemon.process.pid)
        example_passes(guest, "vecadd -n 1024")
        wait_idle(daemon, "A")
        grown = slab_kb(guest) - kernel
        tap.diagnose(f"kernel slabs grew by {grown} KiB in {(TURNS - 2) * 300} openings")
        tap.true(grown < SLACK_KB, f"the guest kernel's slabs grew by {grown} KiB")
        tap.equal(recovery.descriptors(daemon.process.pid), descriptors, "vgpud's descriptors")
        guest.check_kernel_log()


loads.declare(100)

if __name__ == "__main__":
    tap.main()
