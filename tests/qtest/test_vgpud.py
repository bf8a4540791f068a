#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vgpu-pci and the real vgpud: the test registers prove registers, interrupts and
DMA; resets, deaths and returns keep it so.  No driver: see tests/vm for that."""
import os
import time

from qtest import ALL_ONES, BAR, COMMAND_MEMORY, Qemu, tap, wait_until
from vgpud import Daemon, Vm

MAGIC, STATE, CONTROL, GENERATION, HEARTBEAT, HEARTBEAT_MS = 0x0, 0x18, 0x1c, 0x20, 0x24, 0x28
ERR_STATUS, MAX_CONTEXTS, EXEC_KIND, DEVICE_NAME = 0x30, 0x40, 0x80, 0xc0
ECHO, TEST_IRQ, DMA_LO, DMA_HI, DMA_LEN, DMA_GO, DMA_STATUS = range(0x180, 0x19c, 4)
QUIESCING, DISABLED = 1, 2
RESET = 2
ERR_ACCESS, ERR_DMA, ERR_TEST = 1, 2, 1 << 5
MESSAGE = 0x100000


class Machine:
    """vgpud with one VM, and that VM."""

    def __init__(self, *extra, options="", **vm):
        self.daemon = Daemon([Vm("A", **{"executor": "null", **vm})])
        self.extra = extra
        self.options = options

    def __enter__(self):
        self.daemon.__enter__()
        self.qemu = Qemu(f"socket={self.daemon.socket('A')},reconnect-ms=10{self.options}",
                         *self.extra)
        self.qemu.map_bars()
        self.wait_disabled()
        return self.qemu, self.daemon, self

    def __exit__(self, *what):
        try:
            self.qemu.__exit__(*what)
        finally:
            self.daemon.__exit__(*what)

    def wait_disabled(self):
        wait_until(lambda: self.qemu.register(STATE) == DISABLED, "state DISABLED")


def echoes(qemu):
    for value in (0, 0x12345678, ALL_ONES):
        qemu.set_register(ECHO, value)
        tap.equal(qemu.register(ECHO), value ^ ALL_ONES, "the echo register")


def interrupts(qemu):
    for vector in (0, 1, 31):
        qemu.write(MESSAGE + 4 * vector, 0)
        qemu.msix_entry(vector, MESSAGE + 4 * vector, 0xa000 + vector)
    qemu.msix_enable()
    for vector in (31, 1):
        qemu.set_register(TEST_IRQ, vector)
        wait_until(lambda v=vector: qemu.read(MESSAGE + 4 * v) == 0xa000 + v,
                   f"interrupt on vector {vector}")


def dma(qemu, address=0x200000, count=2048):
    data = os.urandom(count)
    qemu.write_bytes(address, data)
    qemu.write_bytes(address + count, bytes(count))
    qemu.set_register(DMA_LO, address & ALL_ONES)
    qemu.set_register(DMA_HI, address >> 32)
    qemu.set_register(DMA_LEN, count)
    qemu.set_register(DMA_GO, 1)
    tap.equal(qemu.register(DMA_STATUS), 0, "status of the test DMA")
    tap.equal(qemu.read_bytes(address + count, count), bytes(x ^ 0xff for x in data),
              "what the test DMA wrote")


@tap.test("identification, limits and name are those of the operator's choice")
def identification():
    with Machine("-trace", "vgpu_doorbell_fd", more="contexts=5") as (qemu, _, _):
        tap.equal(qemu.register(MAX_CONTEXTS), 5, "contexts")
        tap.equal(qemu.log().count("vgpu_doorbell_fd"), 5, "doorbells on eventfds")
        tap.equal(qemu.register(MAGIC), 0x55504756, "magic")
        tap.equal(qemu.register(4), 1 << 16, "ABI version")
        tap.equal(qemu.register(EXEC_KIND), 1, "executor kind")
        tap.true(qemu.register(GENERATION) not in (0, ALL_ONES), "no generation")
        name = b"".join(qemu.register(DEVICE_NAME + i).to_bytes(4, "little")
                        for i in range(0, 64, 4)).rstrip(b"\0").decode()
        tap.true(name.isprintable() and name, f"device name {name!r}")


@tap.test("256 contexts: as many doorbells on eventfds as one message carries")
def all_contexts():
    with Machine("-trace", "vgpu_doorbell_*", more="contexts=256") as (qemu, _, _):
        tap.equal(qemu.register(MAX_CONTEXTS), 256, "contexts")
        tap.equal(qemu.log().count("vgpu_doorbell_fd"), 253, "doorbells on eventfds")
        for context in (0, 252, 253, 255):
            qemu.ring(context)
        echoes(qemu)
        tap.equal(qemu.log().count("vgpu_doorbell_slow"), 2, "doorbells by message")


@tap.test("test registers: echo, interrupts, DMA")
def test_registers():
    # VGPU-REG-021
    with Machine() as (qemu, _, _):
        echoes(qemu)
        interrupts(qemu)
        dma(qemu)
        dma(qemu, 0x1fff00, 512)
        tap.equal(qemu.register(ERR_STATUS), 0, "errors")


@tap.test("the heartbeat advances")
def heartbeat():
    # VGPU-REG-030
    with Machine() as (qemu, _, _):
        first = qemu.register(HEARTBEAT)
        tap.true(1 <= qemu.register(HEARTBEAT_MS) <= 1000, "HEARTBEAT_MS")
        wait_until(lambda: qemu.register(HEARTBEAT) != first, "the heartbeat")


@tap.test("an access of a size the device does not take sets its error bit")
def access_error():
    # VGPU-REG-003
    with Machine() as (qemu, _, _):
        for offset, size in ((0, 1), (0, 2), (2, 4)):
            qemu.read(BAR[0] + offset, size)
            tap.equal(qemu.register(ERR_STATUS) & ERR_ACCESS, ERR_ACCESS, f"{size} at {offset}")
            qemu.set_register(ERR_STATUS, ERR_ACCESS)
            tap.equal(qemu.register(ERR_STATUS), 0, "the error after it was cleared")


@tap.test("DMA to an address that is not RAM, or without bus mastering, is reported")
def dma_faults():
    with Machine() as (qemu, _, machine):
        def faults(address):
            qemu.set_register(DMA_LO, address & ALL_ONES)
            qemu.set_register(DMA_HI, address >> 32)
            qemu.set_register(DMA_LEN, 64)
            qemu.set_register(DMA_GO, 1)
            tap.true(qemu.register(DMA_STATUS) not in (0, ALL_ONES), f"DMA to {address:#x}")
            qemu.set_register(ERR_STATUS, ALL_ONES)
        faults(64 << 20)
        faults(1 << 40)
        qemu.set_command(COMMAND_MEMORY)
        faults(0x200000)
        qemu.map_bars()
        dma(qemu)
        machine.wait_disabled()


@tap.test("FLR, system_reset and the reset register bring the device back to DISABLED")
def resets():
    # VGPU-PCI-030, VGPU-LIFE-020
    with Machine() as (qemu, daemon, machine):
        generation = qemu.register(GENERATION)

        def flr():
            at = qemu.capability(0x10) + 8
            qemu.config_write(at, qemu.config(at) | 1 << 15)

        def system_reset():
            qemu.qmp.command("system_reset")
            qemu.qmp.wait_event("RESET")

        for reset in (flr, system_reset, lambda: qemu.set_register(CONTROL, RESET)):
            qemu.set_register(ECHO, 1)
            reset()
            qemu.map_bars()
            machine.wait_disabled()
            tap.equal(qemu.register(ECHO), ALL_ONES, "echo after reset")
            interrupts(qemu)
            dma(qemu)
        tap.equal(qemu.register(GENERATION), generation, "generation")
        tap.equal(daemon.vm("A")["contexts"], 0, "contexts")


@tap.test("vgpud killed and started again, 10 times: all-ones, then a new generation")
def killed():
    # VGPU-BUS-006, VGPU-LIFE-031
    with Machine() as (qemu, daemon, machine):
        generations = [qemu.register(GENERATION)]
        for _ in range(10):
            daemon.kill()
            wait_until(lambda: qemu.register(MAGIC) == ALL_ONES, "the loss")
            daemon.start()
            machine.wait_disabled()
            generations.append(qemu.register(GENERATION))
            echoes(qemu)
            interrupts(qemu)
            dma(qemu)
        tap.equal(len(set(generations)), 11, f"different generations in {generations}")
        tap.true(len(qemu.log().splitlines()) < 30, "a log flood:\n" + qemu.log())


@tap.test("a stopped vgpud costs one bounded access, then all-ones at once")
def stopped():
    with Machine(options=",timeout-ms=300") as (qemu, daemon, machine):
        vm_process = [int(x) for x in os.listdir("/proc") if x.isdigit() and int(x) != os.getpid()
                      and parent(int(x)) == daemon.process.pid]
        tap.true(vm_process, "vgpud has no vm process")
        for pid in vm_process:
            os.kill(pid, 19)
        try:
            start = time.monotonic()
            tap.equal(qemu.register(MAGIC), ALL_ONES, "magic")
            tap.true(time.monotonic() - start < 20, "the access took for ever")
            tap.equal(qemu.register(MAGIC), ALL_ONES, "magic")
        finally:
            for pid in vm_process:
                os.kill(pid, 18)
        machine.wait_disabled()
        echoes(qemu)


def parent(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


@tap.test("behind a vIOMMU the test DMA reaches RAM when translation is off")
def viommu():
    daemon = Daemon([Vm("A", executor="null")])
    with daemon, Qemu(None, "-device", "intel-iommu,caching-mode=on", "-device",
                      f"vgpu-pci,addr=4,socket={daemon.socket('A')},reconnect-ms=10") as qemu:
        qemu.map_bars()
        wait_until(lambda: qemu.register(STATE) == DISABLED, "state DISABLED")
        dma(qemu)


tap.main()
