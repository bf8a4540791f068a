#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""All examples in all kinds of guest: {1, 2 CPUs} x {plain, swiotlb, vIOMMU}.

Each kind has its own way of making DMA addresses: the identity, bounce buffers as
confidential guests have them, translations by a vIOMMU.
"""
from vmtest import EXAMPLES, example_passes, program_fails, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

KINDS = {
    "plain": {},
    "swiotlb=force": {"swiotlb_force": True},
    "vIOMMU": {"viommu": True},
}


def check_kind(guest, kind):
    """The guest is really of that kind, as the driver and the IOMMU layer see it."""
    staged = guest.check("cat /sys/class/vgpu/vgpu0/must_stage").strip()
    tap.equal(staged, "1" if kind == "swiotlb=force" else "0", "must_stage")
    group = f"/sys/bus/pci/devices/{guest.pci_address()}/iommu_group/type"
    status, domain = guest.run(f"cat {group}")
    if kind == "vIOMMU":
        tap.true(status == 0 and domain.startswith("DMA"), f"a translated domain, saw {domain!r}")
    else:
        tap.true(status != 0, f"no IOMMU, saw {domain!r}")


def runs_examples(cpus, kind, flavour=""):
    options = dict(KINDS[kind], **({"flavour": flavour} if flavour else {}))
    with Daemon([Vm("A")]) as daemon:
        config = Config(name=f"{kind}-{cpus}", socket=daemon.socket("A"), cpus=cpus, **options)
        with Guest(config) as guest:
            guest.driver_up()
            for command in EXAMPLES:
                example_passes(guest, command)
            wait_idle(daemon, "A")
            check_kind(guest, kind)
            guest.check("rmmod vgpu")
            guest.check_kernel_log()


@tap.test("an executor that computes nothing is noticed by every example")
def null_executor_is_noticed():
    with Daemon([Vm("A", executor="null")]) as daemon, \
            Guest(Config(name="null", socket=daemon.socket("A"))) as guest:
        tap.contains(guest.driver_up(), "null executor", "vgpu-info")
        for command in EXAMPLES:
            program_fails(guest, command)
        wait_idle(daemon, "A")


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
