# SPDX-License-Identifier: MIT
"""Load and unload the driver again and again in one guest.

test_driver.py does it a few times, long/test_churn.py a hundred.
"""
from vmtest import example_passes, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

OUTCOME = "it works each time"
WITH_WORK = 10      # a program runs at one load in that many


def loaded_and_unloaded(times):
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="loop", socket=daemon.socket("A"), vgpu_load=False)) as guest:
        for turn in range(times):
            guest.check("insmod /lib/modules/vgpu.ko")
            guest.driver_up()
            if turn % WITH_WORK == 0:
                example_passes(guest, f"vecadd -n 1024 -s {turn}")
            guest.check("rmmod vgpu")
        wait_idle(daemon, "A")
        guest.check_kernel_log()


def declare(times):
    tap.test(f"insmod and rmmod {times} times, with programs in between: {OUTCOME}")(
        lambda: loaded_and_unloaded(times))
