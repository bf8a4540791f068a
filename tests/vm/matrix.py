# SPDX-License-Identifier: MIT
"""Kinds of guests: every combination of what decides how the driver meets its device.

Four run vgpu-selftest as a whole (test_selftest.py, test_selftest_viommu.py) and four more
a part of it (test_matrix.py): together they have every pair of two values of different
columns.  long/test_matrix.py boots all kinds.
"""
import dataclasses
import itertools

from vmtest import example_passes, judge, runs_selftest, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

DMA = {
    "plain": {},
    "swiotlb=force": {"swiotlb_force": True},
    "vIOMMU": {"viommu": True},
    "vIOMMU, lazy": {"viommu": True, "viommu_lazy": True},
}
MEMORY_MB = (512, 5120)     # the latter lies on both sides of the 4 GiB hole
FLAVOURS = ("cloud-amd64", "amd64")
BOUNCES = "would go through bounce buffers"
COPIES = "copy"     # vgpu-selftest's group: odd sizes and offsets, each way of copying


@dataclasses.dataclass(frozen=True)
class Kind:
    """One combination."""
    dma: str
    cpus: int
    stock: bool
    memory_mb: int
    flavour: str

    def name(self):
        qemu = "stock QEMU" if self.stock else "our QEMU"
        return f"{self.dma}, {self.cpus} CPU, {qemu}, {self.memory_mb} MiB, {self.flavour}"

    def config(self, socket):
        return Config(name=self.name(), socket=socket, cpus=self.cpus, stock=self.stock,
                      memory_mb=self.memory_mb, flavour=self.flavour, **DMA[self.dma])

    def values(self):
        return dataclasses.astuple(self)


SELFTEST_KINDS = (
    Kind("plain", 2, False, 512, "cloud-amd64"),
    Kind("swiotlb=force", 1, False, 5120, "cloud-amd64"),
    Kind("vIOMMU", 2, True, 5120, "cloud-amd64"),
    Kind("vIOMMU, lazy", 1, True, 512, "amd64"),
)


def every_kind():
    return [Kind(*values) for values in
            itertools.product(DMA, (1, 2), (False, True), MEMORY_MB, FLAVOURS)]


def pairs_of(kinds):
    """All pairs of values of two columns that some kind has."""
    return {((i, kind.values()[i]), (j, kind.values()[j]))
            for kind in kinds for i in range(5) for j in range(i + 1, 5)}


def stages_and_says_why(guest, dma):
    """The driver stages exactly where it must, and says so once, not per program."""
    told = sum(BOUNCES in line for line in guest.kernel_log().splitlines())
    stages = dma == "swiotlb=force"
    tap.equal(told, 1 if stages else 0, "times the kernel's log says why it stages")
    tap.equal(guest.check("cat /sys/class/vgpu/vgpu0/must_stage").strip(), str(int(stages)),
              "must_stage")


def works(kind):
    """lspci, an example, and copies to the byte, in a guest of that kind."""
    with Daemon([Vm("A")]) as daemon, Guest(kind.config(daemon.socket("A"))) as guest:
        tap.contains(guest.check("lspci -nn -d 1234:7667"), "3D controller [0302]", "lspci")
        guest.driver_up(120)
        example_passes(guest, "vecadd -n 100000")
        listed = [test for test in guest.check("vgpu-selftest -l").splitlines()
                  if test.startswith(COPIES + ":")]
        judge(*guest.run(f"vgpu-selftest {COPIES}", 600), listed)
        stages_and_says_why(guest, kind.dma)
        wait_idle(daemon, "A")
        guest.check_kernel_log()


def declare(kinds):
    for kind in kinds:
        tap.test(f"a guest computes and copies: {kind.name()}")(lambda kind=kind: works(kind))


def does_what_a_program_may(kind):
    """The whole of vgpu-selftest in a guest of that kind."""
    with Daemon([Vm("A", deadline="5s")]) as daemon, \
            Guest(kind.config(daemon.socket("A"))) as guest:
        guest.driver_up(120)
        runs_selftest(daemon, guest)
        stages_and_says_why(guest, kind.dma)


def declare_selftest(viommu):
    for kind in SELFTEST_KINDS:
        if bool(DMA[kind.dma].get("viommu")) == viommu:
            tap.test(f"what a program may do: {kind.name()}")(
                lambda kind=kind: does_what_a_program_may(kind))
