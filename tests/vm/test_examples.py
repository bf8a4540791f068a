#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""All examples in all kinds of guest: {1, 2 CPUs} x {plain, swiotlb, vIOMMU}.

Each kind has its own way of making DMA addresses: the identity, bounce buffers as
confidential guests have them, translations by a vIOMMU.
"""
from vmtest import EXAMPLES, example_passes, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

KINDS = {
    "plain": {},
    "swiotlb=force": {"swiotlb_force": True},
    "vIOMMU": {"viommu": True},
}


def runs_examples(cpus, kind, flavour=""):
    options = dict(KINDS[kind], **({"flavour": flavour} if flavour else {}))
    with Daemon([Vm("A")]) as daemon:
        config = Config(name=f"{kind}-{cpus}", socket=daemon.socket("A"), cpus=cpus, **options)
        with Guest(config) as guest:
            guest.driver_up()
            for command in EXAMPLES:
                example_passes(guest, command)
            wait_idle(daemon, "A")
            if kind == "vIOMMU":
                tap.contains(guest.kernel_log(), "DMAR: IOMMU enabled", "the kernel's log")
            if kind == "swiotlb=force":
                tap.contains(guest.check("cat /proc/cmdline"), "swiotlb=force", "command line")
            guest.check("rmmod vgpu")
            guest.check_kernel_log()


def declare():
    for kind in KINDS:
        for cpus in (1, 2):
            tap.test(f"all examples pass: {kind}, {cpus} CPU")(
                lambda cpus=cpus, kind=kind: runs_examples(cpus, kind))
    tap.test("all examples pass: the stock amd64 kernel, 2 CPUs")(
        lambda: runs_examples(2, "plain", "amd64"))


declare()

if __name__ == "__main__":
    tap.main()
