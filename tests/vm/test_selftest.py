#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vgpu-selftest inside guests: what a program may do and what it must get for it.

The program prints TAP of its own; a test here passes if that is complete and all of it
passed, and the guest is as clean afterwards as before.
"""
import re

from vmtest import example_passes, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

TIMEOUT_S = 800
KINDS = {
    "plain, 2 CPUs": {},
    "plain, 1 CPU": {"cpus": 1},
    "swiotlb=force": {"swiotlb_force": True},
    "vIOMMU": {"viommu": True},
}


def judge(status, output, listed):
    """The inner TAP must report exactly the listed tests, none failed."""
    results = re.findall(r"^(not ok|ok) \d+ - (.*?)( # SKIP.*)?$", output, re.MULTILINE)
    failed = [name for result, name, _ in results if result == "not ok"]
    skipped = [name for result, name, skip in results if skip]
    plan = re.findall(r"^1\.\.(\d+)$", output, re.MULTILINE)
    tap.diagnose(f"{len(results)} tests inside, {len(failed)} failed, {len(skipped)} skipped"
                 + "".join(f"\nskipped: {name}" for name in skipped))
    if failed or status != 0:
        tap.fail(f"exit status {status}, failed: {failed}; output:\n{output}")
    tap.equal(plan, [str(len(results))], "the inner plan")
    tap.equal(sorted(name for _, name, _ in results), sorted(listed), "the tests inside")


def runs_selftest(name, options):
    with Daemon([Vm("A", deadline="5s")]) as daemon, \
            Guest(Config(name=name, socket=daemon.socket("A"), **options)) as guest:
        guest.driver_up()
        listed = guest.check("vgpu-selftest -l").splitlines()
        tap.true(listed, "vgpu-selftest has tests")
        judge(*guest.run("vgpu-selftest", TIMEOUT_S), listed)
        wait_idle(daemon, "A")
        example_passes(guest, "vecadd -n 1024")
        guest.check_kernel_log()


def declare():
    for kind, options in KINDS.items():
        tap.test(f"what a program may do: {kind}")(
            lambda kind=kind, options=options: runs_selftest(kind.replace(", ", "-"), options))


declare()

if __name__ == "__main__":
    tap.main()
