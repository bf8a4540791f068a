#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Under a vIOMMU the device reaches what the guest's tables map, while they do.

guest-dma (guest/dma.c) is the judge: it knows the DMA addresses of its own memory.
"""
from vmtest import example_passes, wait_held, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

PAGES = 320     # that guest-dma tries, mapped and unmapped


def unmapped_memory_is_out_of_reach(mode, **options):
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name=mode, socket=daemon.socket("A"), viommu=True,
                         append="iomem=relaxed", **options)) as guest:
        guest.driver_up(120)
        held = guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
        counts, late = guest.check(
            f"guest-dma {guest.pci_address()} {mode} 2>&1", 600).splitlines()
        tap.equal(counts, f"{PAGES} accesses to mapped pages, {PAGES} to unmapped ones", "guest-dma")
        tap.diagnose(late)
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "the other program's context alone")
        guest.check("killall -KILL spin")
        held.wait(60)
        wait_idle(daemon, "A")
        example_passes(guest, "vecadd -n 1024")
        guest.check_kernel_log()


@tap.test("memory that the guest unmaps is out of the device's reach at once: strict")
def strict():
    """VGPU-GEN-002"""
    unmapped_memory_is_out_of_reach("strict")


@tap.test("memory that the guest unmaps is out of the device's reach: lazy, Debian's QEMU")
def lazy():
    unmapped_memory_is_out_of_reach("lazy", viommu_lazy=True, stock=True, cpus=1)


if __name__ == "__main__":
    tap.main()
