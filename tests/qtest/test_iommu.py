#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vgpu-pci behind an emulated VT-d: what the guest's tables map, the back end can
reach, and nothing else; as soon as the guest's invalidation is over."""
import contextlib
import os
import struct
import tempfile

from qtest import PATIENT, RAM_MIB, SLOT, Qemu, tap, wait_until
import vfu
from vfu import Server

DMAR = 0xfed90000
GLOBAL_COMMAND, GLOBAL_STATUS, ROOT_TABLE, CONTEXT_COMMAND = 0x18, 0x1c, 0x20, 0x28
IOTLB_ADDRESS, IOTLB = 0xf0, 0xf8
TRANSLATION, SET_ROOT = 1 << 31, 1 << 30
ROOT, CONTEXT, LEVEL3, LEVEL2, LEVEL1 = 0x300000, 0x301000, 0x302000, 0x303000, 0x304000
DOMAIN = 5
READ, WRITE, LARGE = 1, 2, 1 << 7
IOVA = 0x40000000
DIMM = 0x120000000      # not at the start of a GiB


class Iommu:
    """The guest's side of the unit, for our one device; IOVA's 2 MiB have tables."""

    def __init__(self, qemu):
        self.qemu = qemu
        for table in (ROOT, CONTEXT, LEVEL3, LEVEL2, LEVEL1):
            qemu.write_bytes(table, bytes(4096))
        qemu.write_bytes(ROOT, struct.pack("<QQ", CONTEXT | 1, 0))
        qemu.write_bytes(CONTEXT + 16 * (SLOT << 3),
                         struct.pack("<QQ", LEVEL3 | 1, DOMAIN << 8 | 1))    # 3 levels
        self.entry(LEVEL3, IOVA >> 30, LEVEL2 | READ | WRITE)
        self.tables()
        qemu.write(DMAR + ROOT_TABLE, ROOT, 8)
        self.command(SET_ROOT)

    def command(self, bit, on=True):
        old = self.qemu.read(DMAR + GLOBAL_STATUS) & TRANSLATION
        self.qemu.write(DMAR + GLOBAL_COMMAND, old | bit if on else old & ~bit)
        tap.equal(bool(self.qemu.read(DMAR + GLOBAL_STATUS) & bit), on, "global status")

    def enable(self, on=True):
        self.command(TRANSLATION, on)
        if on:
            self.qemu.write(DMAR + CONTEXT_COMMAND, 1 << 63 | 1 << 61, 8)
            self.flush()

    def flush(self):
        self.qemu.write(DMAR + IOTLB, 1 << 63 | 1 << 60, 8)

    def flush_page(self, iova, order=0):
        self.qemu.write(DMAR + IOTLB_ADDRESS, iova | order, 8)
        self.qemu.write(DMAR + IOTLB, 1 << 63 | 3 << 60 | DOMAIN << 32, 8)

    def entry(self, table, index, value):
        self.qemu.write(table + 8 * (index & 511), value, 8)

    def tables(self):
        self.entry(LEVEL2, 0, LEVEL1 | READ | WRITE)

    def page(self, number, value, flush=True):
        """Set the table entry of a page of IOVA's 2 MiB; 0 unmaps."""
        self.entry(LEVEL1, number, value)
        if flush:
            self.flush_page(IOVA + number * 4096)

    def large(self, value):
        self.entry(LEVEL2, 0, value)
        self.flush_page(IOVA, 9)


@contextlib.contextmanager
def guest(*extra, ram=None, **server):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Server(path, **server) as back_end:
            device = f"vgpu-pci,id=gpu0,addr={SLOT},socket={path},reconnect-ms=10{PATIENT}"
            with Qemu(None, "-device", "intel-iommu,caching-mode=on", "-device", device,
                      *extra, ram=ram) as qemu:
                qemu.map_bars()
                qemu.wait_live()
                yield qemu, back_end, Iommu(qemu)


def ranges(server):
    return {a: m[0] for a, m in server.maps.items()}


@tap.test("RAM is there until the unit translates, then what its tables say, then RAM again")
def switched():
    with guest() as (qemu, server, iommu):
        before = ranges(server)
        tap.true(before, "no RAM mapped")
        iommu.enable()
        tap.equal(ranges(server), {}, "maps with empty tables")
        iommu.enable(False)
        tap.equal(ranges(server), before, "maps after translation")


@tap.test("a page is mapped and unmapped when the invalidation returns, with its contents")
def page():
    with guest() as (qemu, server, iommu):
        iommu.enable()
        for number, target in ((0, 0x500000), (7, 0x123000), (511, (RAM_MIB << 20) - 4096)):
            iommu.page(number, target | READ | WRITE)
            at = IOVA + number * 4096
            tap.equal(ranges(server), {at: 4096}, "maps")
            data = os.urandom(16)
            qemu.write_bytes(target + 0x80, data)
            tap.equal(server.read_memory(at + 0x80, 16), data, "read through the map")
            server.write_memory(at + 0x90, data[::-1])
            tap.equal(qemu.read_bytes(target + 0x90, 16), data[::-1], "written through the map")
            iommu.page(number, 0)
            tap.equal(ranges(server), {}, "maps after the unmap")


@tap.test("a mapping that moves to another page is replaced")
def moved():
    with guest() as (qemu, server, iommu):
        iommu.enable()
        qemu.write_bytes(0x500000, b"first...")
        qemu.write_bytes(0x600000, b"second..")
        iommu.page(3, 0x500000 | READ | WRITE)
        tap.equal(server.read_memory(IOVA + 0x3000, 8), b"first...", "before")
        iommu.page(3, 0x600000 | READ | WRITE)
        tap.equal(server.read_memory(IOVA + 0x3000, 8), b"second..", "after")
        tap.equal(ranges(server), {IOVA + 0x3000: 4096}, "maps")


@tap.test("a read-only mapping is read-only for the back end")
def read_only():
    with guest() as (_, server, iommu):
        iommu.enable()
        iommu.page(1, 0x500000 | READ)
        tap.equal({a: m[3] for a, m in server.maps.items()}, {IOVA + 0x1000: 1}, "flags")


@tap.test("a mapping of what is not RAM is not passed on")
def not_ram():
    with guest() as (_, server, iommu):
        iommu.enable()
        iommu.page(1, 0xfed00000 | READ | WRITE)
        tap.equal(ranges(server), {}, "maps")
        iommu.page(1, 0)
        iommu.page(2, 0x500000 | READ | WRITE)
        tap.equal(ranges(server), {IOVA + 0x2000: 4096}, "maps")


@tap.test("a large page is one map; one that becomes small pages is cut up")
def large():
    with guest() as (qemu, server, iommu):
        iommu.enable()
        iommu.large(0x800000 | READ | WRITE | LARGE)
        tap.equal(ranges(server), {IOVA: 2 << 20}, "maps")
        qemu.write_bytes(0x8ff000, b"at its end")
        tap.equal(server.read_memory(IOVA + 0xff000, 10), b"at its end", "contents")
        for number in range(512):
            iommu.page(number, (0x800000 + number * 4096) | READ | WRITE, flush=False)
        iommu.large(LEVEL1 | READ | WRITE)
        tap.equal(ranges(server), {IOVA + n * 4096: 4096 for n in range(512)}, "maps after")
        iommu.page(5, 0)
        tap.equal(server.read_memory(IOVA + 0xff000, 10), b"at its end", "contents after")
        tap.equal(server.read_memory(IOVA + 5 * 4096, 1), None, "the page that went")
        tap.equal(sum(ranges(server).values()), 511 * 4096, "bytes mapped")


@tap.test("a large page over a hole in RAM maps the RAM on both sides")
def hole():
    with guest() as (qemu, server, iommu):
        iommu.enable()
        iommu.large(0 | READ | WRITE | LARGE)
        for address in (0x1000, 0x9f000, 0x100000, 0x1ff000):
            data = os.urandom(8)
            qemu.write_bytes(address, data)
            tap.equal(server.read_memory(IOVA + address, 8), data, f"RAM at {address:#x}")
        tap.equal(server.read_memory(IOVA + 0xc0000, 1), None, "the ROMs")
        iommu.large(0)
        tap.equal(ranges(server), {}, "maps after the unmap")


@tap.test("a large page that begins outside RAM maps the RAM further on")
def hole_first():
    ram = ["-object", f"memory-backend-memfd,id=ram0,size={RAM_MIB}M,share=on",
           "-machine", "memory-backend=ram0", "-m", f"{RAM_MIB}M,slots=1,maxmem=2G",
           "-object", "memory-backend-memfd,id=m1,size=128M,share=on",
           "-device", f"pc-dimm,memdev=m1,addr={DIMM:#x}"]
    with guest(ram=ram) as (qemu, server, iommu):
        iommu.enable()
        iommu.entry(LEVEL3, IOVA >> 30, DIMM & ~0x3fffffff | READ | WRITE | LARGE)
        iommu.flush()
        at = IOVA + (DIMM & 0x3fffffff)
        tap.equal(ranges(server), {at: 128 << 20}, "maps")
        qemu.write_bytes(DIMM + 0x1000, b"far away")
        tap.equal(server.read_memory(at + 0x1000, 8), b"far away", "contents")


@tap.test("512 pages mapped at once are all there when the invalidation returns")
def many():
    with guest() as (_, server, iommu):
        iommu.enable()
        for number in range(512):
            iommu.page(number, (0x1000000 + number * 0x2000) | READ | WRITE, flush=False)
        iommu.flush()
        tap.equal(len(server.maps), 512, "maps")
        for number in range(512):
            iommu.page(number, 0, flush=False)
        iommu.flush()
        tap.equal(ranges(server), {}, "maps after the unmap")


@tap.test("a new back end is told what the guest's tables map")
def reconnect():
    with guest() as (qemu, server, iommu):
        iommu.enable()
        for number in range(300):
            iommu.page(number, (0x1000000 + number * 0x2000) | READ | WRITE, flush=False)
        iommu.flush()
        before = ranges(server)
        tap.equal(len(before), 300, "maps")
        server.hang_up()
        wait_until(lambda: server.connections == 2, "the second connection")
        qemu.wait_live()
        tap.equal(ranges(server), before, "maps of the second connection")
        iommu.page(299, 0)
        tap.equal(len(server.maps), 299, "maps")


@tap.test("more mappings than the back end allows are left out and said so, once")
def too_many():
    caps = '{"capabilities":{"max_dma_maps":100}}'
    with guest(capabilities=caps) as (qemu, server, iommu):
        iommu.enable()
        for number in range(200):
            iommu.page(number, (0x1000000 + number * 0x2000) | READ | WRITE, flush=False)
        iommu.flush()
        tap.equal(len(server.maps), 100, "maps")
        tap.equal(qemu.log().count("maps more than 100 ranges"), 1, "reports")
        for number in range(200):
            iommu.page(number, 0, flush=False)
        iommu.flush()
        tap.equal(ranges(server), {}, "maps after the unmap")
        iommu.page(7, 0x500000 | READ | WRITE)
        tap.equal(ranges(server), {IOVA + 7 * 4096: 4096}, "a map when there is room again")


@tap.test("bus mastering off and reset take the translated memory away too")
def bus_master():
    with guest() as (qemu, server, iommu):
        iommu.enable()
        iommu.page(1, 0x500000 | READ | WRITE)
        qemu.set_command(2)
        tap.equal(ranges(server), {}, "maps without bus mastering")
        qemu.set_command(6)
        tap.equal(ranges(server), {IOVA + 0x1000: 4096}, "maps with bus mastering")
        at = qemu.capability(0x10) + 8
        qemu.config_write(at, qemu.config(at) | 1 << 15)
        tap.equal(ranges(server), {}, "maps after a function level reset")


@tap.test("a back end that dies while mappings change is no harm")
def dies():
    with guest() as (qemu, server, iommu):
        iommu.enable()
        with server.lock():
            server.overrides[vfu.DMA_MAP] = lambda s, m: s.hang_up()
        for number in range(20):
            iommu.page(number, (0x1000000 + number * 0x2000) | READ | WRITE)
        with server.lock():
            server.overrides.clear()
        wait_until(lambda: server.connections >= 2, "another connection")
        qemu.wait_live()
        tap.equal(len(server.maps), 20, "maps")


tap.main()
