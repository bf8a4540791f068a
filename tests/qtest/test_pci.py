#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vgpu-pci as a PCI device: identity, BARs, MSI-X, and what it does alone."""
import os
import tempfile

from qtest import ALL_ONES, BAR, BAR_BYTES, Qemu, base_command, images, refusal, shared_ram, tap
from qtest import subprocess
from vfu import Server


def absent():
    return "socket=/nonexistent/vgpu.sock"


@tap.test("identity in config space is that of hw.h")
def identity():
    # VGPU-PCI-001
    with Qemu(absent()) as qemu:
        tap.equal(qemu.config(0x0c) >> 16 & 0xff, 0, "header type")
        tap.equal(qemu.config(0x3c) >> 8 & 0xff, 0, "interrupt pin")
        tap.equal(qemu.config(0x00), 0x76671234, "device and vendor")
        tap.equal(qemu.config(0x08), 0x03020001, "class and revision")
        tap.equal(qemu.config(0x2c), 0x00011234, "subsystem")


@tap.test("BARs 0, 2 and 4 are 64-bit memory of the right sizes, others absent")
def bars():
    # VGPU-PCI-002
    with Qemu(absent()) as qemu:
        tap.equal([qemu.config(0x10 + 4 * n) & 0xf for n in range(6)], [4, 0, 4, 0, 4, 0], "types")
        for bar, size in BAR_BYTES.items():
            at = 0x10 + 4 * bar
            tap.equal(qemu.config(at) & 0xf, 0x4, f"BAR {bar} type")
            qemu.config_write(at, 0xffffffff)
            qemu.config_write(at + 4, 0xffffffff)
            mask = qemu.config(at + 4) << 32 | qemu.config(at) & ~0xf
            tap.equal(-mask & (1 << 64) - 1, size, f"BAR {bar} size")


@tap.test("MSI-X has 32 vectors, table and pending bits in BAR 4")
def msix_capability():
    # VGPU-PCI-003
    with Qemu(absent()) as qemu:
        at = qemu.capability(0x11)
        tap.equal(qemu.config(at) >> 16 & 0x7ff, 31, "table size")
        tap.equal(qemu.config(at + 4), 0x0000 | 4, "table")
        tap.equal(qemu.config(at + 8), 0x2000 | 4, "PBA")


@tap.test("PCI Express endpoint capability offers function level reset")
def express():
    # VGPU-PCI-004
    with Qemu(absent()) as qemu:
        at = qemu.capability(0x10)
        tap.true(at, "no PCI Express capability")
        tap.equal(qemu.config(at) >> 16 & 0xf, 2, "version")
        tap.true(qemu.config(at + 4) & 1 << 28, "no FLR")


@tap.test("with no back end reads give all-ones, writes are dropped, nothing breaks")
def all_ones():
    # VGPU-BUS-006
    with Qemu(absent()) as qemu:
        qemu.map_bars()
        for offset in (0, 4, 0x18, 0xc0, 0x1fc, 0x3ffc):
            tap.equal(qemu.register(offset), ALL_ONES, f"register {offset:#x}")
        tap.equal(qemu.register(0, 1), 0xff, "a byte")
        tap.equal(qemu.register(0, 2), 0xffff, "a word")
        tap.equal(qemu.register(0, 8), (1 << 64) - 1, "8 bytes")
        qemu.set_register(0x180, 0x1234)
        tap.equal(qemu.register(0x180), ALL_ONES, "a written register")
        for offset in (0, 0x1000, 0xff000, 0xffffc):
            tap.equal(qemu.read(BAR[2] + offset), ALL_ONES, f"doorbell {offset:#x}")
            qemu.write(BAR[2] + offset, 1)
        qemu.wait_log("cannot connect to /nonexistent/vgpu.sock")


@tap.test("a missing back end is reported once, however often it is looked for")
def reported_once():
    with Qemu(absent() + ",reconnect-ms=10", "-trace", "vgpu_conn_attempt") as qemu:
        qemu.wait_log("vgpu_conn_attempt", 30)
        tap.equal(qemu.log().count("cannot connect"), 1, "reports")


@tap.test("private guest memory is refused with the option to add")
def private_memory():
    said = refusal("-m", "64M", "-device", "vgpu-pci," + absent())
    tap.contains(said, "-object memory-backend-memfd,id=ram0,size=64M,share=on "
                 "-machine memory-backend=ram0", "the refusal")


@tap.test("share=off is detected and named")
def share_off():
    said = refusal("-object", "memory-backend-memfd,id=r,size=64M,share=off", "-m", "64M",
                   "-machine", "memory-backend=r", "-device", "vgpu-pci," + absent())
    tap.contains(said, "guest memory 'r' is private", "the refusal")
    tap.contains(said, "share=on", "the refusal")


@tap.test("one private node among shared ones is refused")
def share_off_numa():
    said = refusal("-m", "64M", "-smp", "2",
                   "-object", "memory-backend-memfd,id=a,size=32M,share=on",
                   "-object", "memory-backend-memfd,id=b,size=32M,share=off",
                   "-numa", "node,memdev=a", "-numa", "node,memdev=b",
                   "-device", "vgpu-pci," + absent())
    tap.contains(said, "guest memory 'b' is private", "the refusal")


@tap.test("a vIOMMU without caching-mode is refused with the option to add")
def caching_mode():
    said = refusal(*shared_ram(), "-device", "intel-iommu", "-device", "vgpu-pci," + absent())
    tap.contains(said, "intel-iommu,caching-mode=on", "the refusal")


@tap.test("properties out of range are refused")
def properties():
    for bad, word in (("socket=", "'socket' is missing"), ("reconnect-ms=5", "'socket' is missing"),
                      ("socket=" + "x" * 108, "at most 107 bytes"),
                      (absent() + ",reconnect-ms=9", "'reconnect-ms'"),
                      (absent() + ",timeout-ms=9", "'timeout-ms'"),
                      (absent() + ",timeout-ms=20000", "release-timeout-ms"),
                      (absent() + ",release-timeout-ms=60001", "release-timeout-ms")):
        tap.contains(refusal(*shared_ram(), "-device", "vgpu-pci," + bad), word, bad)


@tap.test("-device vgpu-pci,help describes the properties")
def device_help():
    done = subprocess.run([images.qemu(), "-device", "vgpu-pci,help"], stdout=subprocess.PIPE,
                          text=True, check=True)
    for name in ("socket", "reconnect-ms", "timeout-ms", "release-timeout-ms", "ioeventfd"):
        lines = [x for x in done.stdout.splitlines() if x.strip().startswith(name + "=")]
        tap.equal(len(lines), 1, f"lines about {name}")
        tap.contains(lines[0], " - ", f"the description of {name}")


@tap.test("a VM with the device cannot be saved or migrated, and is told why")
def unmigratable():
    with tempfile.TemporaryDirectory() as folder, Qemu(absent()) as qemu:
        try:
            qemu.qmp.command("migrate", uri=f"exec:cat >{os.path.join(folder, 'state')}")
        except Exception as error:  # pylint: disable=broad-except
            tap.contains(str(error), "vgpu-pci", "the refusal")
        else:
            tap.fail("migration was accepted")


@tap.test("the trace events can be listed and switched")
def trace_events():
    with Qemu(absent()) as qemu:
        events = qemu.monitor("info trace-events vgpu_*")
        for name in ("vgpu_reg_read", "vgpu_dma_map", "vgpu_conn_state"):
            tap.contains(events, name + " : state 0", "info trace-events")
        qemu.monitor("trace-event vgpu_device_reset on")
        qemu.qmp.command("system_reset")
        qemu.wait_log("vgpu_device_reset live 0")


@tap.test("works on a conventional PCI bus, without the Express capability")
def conventional():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Server(path), Qemu(None, "-device", "pcie-pci-bridge,id=b,addr=5", "-device",
                                f"vgpu-pci,bus=b,addr=1,socket={path}") as qemu:
            qemu.config_write(0x18, 0x00010100, slot=5)
            tap.equal(qemu.config(0, slot=1, bus=1), 0x76671234, "identity")
            capability, at = None, qemu.config(0x34, slot=1, bus=1) & 0xff
            while at:
                word = qemu.config(at, slot=1, bus=1)
                capability, at = capability or word & 0xff == 0x10, word >> 8 & 0xff
            tap.true(not capability, "an Express capability on a conventional bus")
            qemu.wait_log("connected to")


tap.main()
