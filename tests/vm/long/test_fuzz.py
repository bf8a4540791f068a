#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Random programs against the driver under a kernel with KASAN, lockdep and leak detection.

VGPU_FUZZ_SECONDS (60) of them in a guest with two processors, then in one with a vIOMMU.
"""
import os

from debugguest import COMMAND_TIMEOUT_S, DebugGuest, check_clean
from vmtest import example_passes, fuzz_ioctls

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm

SECONDS = int(os.environ.get("VGPU_FUZZ_SECONDS", "60"))


def random_programs_are_clean(**options):
    with Daemon([Vm("A", deadline="30s")]) as daemon, \
            DebugGuest(daemon, "fuzz", **options) as guest:
        guest.driver_up(COMMAND_TIMEOUT_S)
        fuzz_ioctls(guest, SECONDS)
        example_passes(guest, "vecadd -n 1024")
        check_clean(daemon, guest)


@tap.test("random programs give the checkers nothing to say")
def plain():
    random_programs_are_clean(cpus=2)


@tap.test("nor under a vIOMMU")
def viommu():
    random_programs_are_clean(viommu=True)


if __name__ == "__main__":
    tap.main()
