#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Random programs against the driver under a kernel with KASAN, lockdep and leak detection.

VGPU_FUZZ_SECONDS (60) of them in a guest with two processors, then in one with a vIOMMU.
"""
import os

from debugguest import guest_of
from vmtest import example_passes, fuzz_ioctls, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm

SECONDS = int(os.environ.get("VGPU_FUZZ_SECONDS", "60"))


def random_programs_are_clean(**options):
    with Daemon([Vm("A", deadline="30s")]) as daemon, guest_of(daemon, "fuzz", **options) as guest:
        guest.driver_up()
        fuzz_ioctls(guest, SECONDS)
        example_passes(guest, "vecadd -n 1024")
        wait_idle(daemon, "A")


@tap.test("random programs give the checkers nothing to say")
def plain():
    random_programs_are_clean(cpus=2)


@tap.test("nor under a vIOMMU")
def viommu():
    random_programs_are_clean(viommu=True)


if __name__ == "__main__":
    tap.main()
