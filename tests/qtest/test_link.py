#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vgpu-pci with a well-behaved back end: registers, doorbells, interrupts,
memory, resets, and losing and finding the back end again."""
import contextlib
import json
import os
import struct
import tempfile

from qtest import ALL_ONES, BAR, COMMAND_MASTER, COMMAND_MEMORY, PATIENT, RAM_MIB, Qemu, tap, wait_until
import vfu
from vfu import Server

MESSAGE = 0x100000      # where in RAM the tests point MSI-X messages


@contextlib.contextmanager
def pair(*extra, options="", master=True, device=True, **server):
    """A server, and a QEMU connected to it with its BARs mapped."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Server(path, **server) as back_end:
            with Qemu(f"socket={path},reconnect-ms=10{PATIENT}{options}" if device else None,
                      *extra) as qemu:
                qemu.map_bars(master)
                qemu.wait_live()
                yield qemu, back_end


@tap.test("the version offered is 0.1 with the capabilities promised")
def version():
    with pair() as (_, server):
        major, minor = struct.unpack_from("<HH", server.version)
        tap.equal((major, minor), (0, 1), "version")
        tap.equal(server.version[-1], 0, "terminator")
        caps = json.loads(server.version[4:-1])["capabilities"]
        tap.equal(caps, {"max_msg_fds": 253, "max_data_xfer_size": 4096, "max_dma_maps": 65535,
                         "pgsizes": 4096}, "capabilities")


@tap.test("a server that answers version 0.0 with no capabilities is accepted")
def version_minimal():
    def answer(server, message):
        server.reply(message, struct.pack("<HH", 0, 0))
    with pair(overrides={vfu.VERSION: answer}) as (qemu, server):
        tap.equal(qemu.register(0), vfu.MAGIC, "magic")
        # absent, max_msg_fds means 1: a message per vector
        tap.equal(server.commands.count(vfu.SET_IRQS), 32, "SET_IRQS messages")


@tap.test("descriptors are sent in messages no larger than the server takes")
def irq_chunks():
    caps = '{"capabilities":{"max_msg_fds":10}}'
    with pair(capabilities=caps) as (_, server):
        tap.equal(server.commands.count(vfu.SET_IRQS), 4, "SET_IRQS messages")
        tap.equal(sorted(server.irqs), list(range(32)), "vectors")


@tap.test("register reads and writes of 1, 2, 4 and 8 bytes reach the device in order")
def registers():
    with pair() as (qemu, server):
        qemu.set_register(0x10, 0x11223344)
        qemu.set_register(0x14, 0x55667788)
        tap.equal(qemu.register(0x10), 0x11223344, "4 bytes")
        tap.equal(qemu.register(0x10, 8), 0x5566778811223344, "8 bytes")
        qemu.set_register(0x20, 0xa1a2a3a4a5a6a7a8, 8)
        tap.equal(qemu.register(0x20), 0xa5a6a7a8, "low half")
        tap.equal(qemu.register(0x24), 0xa1a2a3a4, "high half")
        qemu.set_register(0x21, 0x7f, 1)
        qemu.set_register(0x2e, 0xbeef, 2)
        tap.equal(qemu.register(0x21, 1), 0x7f, "1 byte")
        tap.equal(qemu.register(0x2e, 2), 0xbeef, "2 bytes")
        tap.equal([(o, len(d)) for _, o, d in server.writes],
                  [(0x10, 4), (0x14, 4), (0x20, 4), (0x24, 4), (0x21, 1), (0x2e, 2)], "writes")


@tap.test("a read sees all writes before it, 10000 of them posted")
def posted_order():
    with pair() as (qemu, server):
        for first in range(0, 10000, 100):      # as many as the qtest socket holds
            for value in range(first, first + 100):
                qemu.send(f"writel {BAR[0] + 0x40:#x} {value:#x}")
            for _ in range(100):
                qemu.answer()
        tap.equal(qemu.register(0x40), 9999, "the last value")
        tap.equal([struct.unpack("<I", d)[0] for _, _, d in server.writes], list(range(10000)),
                  "the writes")


def doorbells_checked(qemu, server):
    # VGPU-PCI-012, VGPU-BUS-004
    tap.equal(server.rung(3), 0, "before")
    for context in (3, 5, 3):
        qemu.ring(context, 0xabcd)
    tap.equal(server.rung(3), 2, "context 3")
    tap.equal(server.rung(5), 1, "context 5")
    # what is not a 4-byte write at the start of a page
    page = BAR[2] + 3 * 0x1000
    for offset, size in ((4, 4), (0, 1), (0, 2), (0, 8), (1, 4), (0xffc, 4), (2, 4)):
        qemu.write(page + offset, 1, size)
    qemu.ring(200)
    tap.equal(qemu.read(page), 0, "a read")
    for context in range(vfu.CONTEXTS):
        tap.equal(server.rung(context), 0, f"context {context} after accesses that do not ring")
    tap.true(not server.writes, "a doorbell travelled as a message")


@tap.test("doorbell writes signal the context's eventfd, other accesses do nothing")
def doorbells():
    with pair("-trace", "vgpu_doorbell_*") as (qemu, server):
        doorbells_checked(qemu, server)
        tap.equal(qemu.log().count("vgpu_doorbell_fd"), vfu.CONTEXTS, "ioeventfds")
        tap.true("vgpu_doorbell_slow" not in qemu.log(), "a doorbell missed its ioeventfd")


@tap.test("with ioeventfd=off doorbells ring all the same")
def doorbells_slow():
    with pair("-trace", "vgpu_doorbell_*", options=",ioeventfd=off") as (qemu, server):
        doorbells_checked(qemu, server)
        tap.equal(qemu.log().count("vgpu_doorbell_slow"), 3, "rings through the handler")


@tap.test("doorbells may share one eventfd")
def doorbells_shared():
    def answer(server, message):
        server.doorbells = [os.eventfd(0, os.EFD_NONBLOCK)]
        server.doorbell_reply(message, [(c * 0x1000, 4, 0, 0, 0) for c in range(256)],
                              server.doorbells)
    with pair(overrides={vfu.IO_FDS: answer}) as (qemu, server):
        for context in (0, 17, 255):
            qemu.ring(context)
        tap.equal(server.rung(0), 3, "rings")


@tap.test("contexts beyond the descriptors of one message ring by message")
def doorbells_by_message():
    # VGPU-BUS-004
    def answer(server, message):
        server.doorbells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(253)]
        server.doorbell_reply(message, [(c * 0x1000, 4, c, 0, 0) for c in range(253)],
                              server.doorbells)
    with pair(overrides={vfu.IO_FDS: answer}) as (qemu, server):
        qemu.ring(252)
        qemu.ring(254, 7)
        qemu.write(BAR[2] + 254 * 0x1000 + 4, 1)
        qemu.write(BAR[2] + 254 * 0x1000, 1, 2)
        tap.equal(qemu.register(0), vfu.MAGIC, "magic")     # after all posted writes
        tap.equal(server.rung(252), 1, "the last eventfd")
        tap.equal(server.writes, [(2, 254 * 0x1000, b"\7\0\0\0")], "messages")


def interrupts_on(qemu, vectors, base=MESSAGE):
    for vector in vectors:
        qemu.write(base + 4 * vector, 0)
        qemu.msix_entry(vector, base + 4 * vector, 0xa000 + vector)
    qemu.msix_enable()


def arrived(qemu, vector, base=MESSAGE):
    return qemu.read(base + 4 * vector) == 0xa000 + vector


@tap.test("each vector's eventfd delivers that vector's message")
def interrupts():
    with pair() as (qemu, server):
        interrupts_on(qemu, range(32))
        for vector in (0, 1, 17, 31):
            server.raise_irq(vector)
            wait_until(lambda v=vector: arrived(qemu, v), f"vector {vector}")
        seen = [v for v in range(32) if arrived(qemu, v)]
        tap.equal(seen, [0, 1, 17, 31], "vectors that arrived")
        tap.equal(qemu.pending(), 0, "pending bits")


@tap.test("a masked vector is pending, and delivered once unmasked")
def interrupt_masked():
    # VGPU-PCI-022
    with pair() as (qemu, server):
        interrupts_on(qemu, range(4))
        qemu.msix_mask(2, True)
        server.raise_irq(2)
        wait_until(lambda: qemu.pending() == 1 << 2, "the pending bit")
        tap.true(not arrived(qemu, 2), "a masked vector was delivered")
        # the message is the one that the table holds when the mask is lifted
        qemu.write(BAR[4] + 16 * 2 + 8, 0xb002)
        qemu.msix_mask(2, False)
        tap.equal(qemu.read(MESSAGE + 8), 0xb002, "the message at unmasking")
        tap.equal(qemu.pending(), 0, "pending bits")


@tap.test("the PBA is right at the moment the eventfd is signalled")
def pba_immediate():
    with pair() as (qemu, server):
        interrupts_on(qemu, range(4))
        qemu.msix_mask(1, True)
        for _ in range(50):
            server.raise_irq(1)
            tap.equal(qemu.pending(), 1 << 1, "pending bits, read at once")
            qemu.msix_mask(1, False)
            qemu.msix_mask(1, True)
            tap.equal(qemu.pending(), 0, "pending bits, after delivery")


@tap.test("function mask and MSI-X disable keep interrupts, enable delivers them")
def interrupt_function_mask():
    with pair() as (qemu, server):
        interrupts_on(qemu, range(4))
        for mask in ({"mask_all": True}, {"enable": False}):
            qemu.write(MESSAGE + 4 * 3, 0)
            qemu.msix_enable(**mask)
            server.raise_irq(3)
            wait_until(lambda: qemu.pending() == 1 << 3, f"the pending bit under {mask}")
            tap.true(not arrived(qemu, 3), f"delivered under {mask}")
            qemu.msix_enable()
            tap.true(arrived(qemu, 3), f"lost under {mask}")
            tap.equal(qemu.pending(), 0, "pending bits")


@tap.test("an interrupt raised before a read is answered arrives before the answer")
def interrupt_order():
    # VGPU-LIFE-020: no interrupt from before follows the read that saw DISABLED
    def answer(server, message):
        server.raise_irq(3)
        server.on_region_read(message)
    with pair() as (qemu, server):
        interrupts_on(qemu, range(4))
        with server.lock():
            server.overrides[vfu.REGION_READ] = answer
        # sent together, the two are carried out with no turn of the main loop between
        qemu.send(f"readl {BAR[0]:#x}\nreadl {MESSAGE + 12:#x}")
        tap.equal(int(qemu.answer(), 0), vfu.MAGIC, "magic")
        tap.equal(int(qemu.answer(), 0), 0xa003, "the message, after the register was read")


@tap.test("no interrupt is lost while its vector is masked and unmasked 2000 times")
def interrupt_storm():
    with pair() as (qemu, server):
        interrupts_on(qemu, range(2))
        for number in range(2000):
            qemu.write(MESSAGE + 4, 0)
            qemu.msix_mask(1, bool(number & 1))
            server.raise_irq(1)
            qemu.msix_mask(1, not number & 1)
            qemu.msix_mask(1, False)
            wait_until(lambda: arrived(qemu, 1), f"interrupt {number}")


@tap.test("RAM is mapped for DMA with the right contents while bus mastering is on")
def dma_contents():
    with pair(master=False) as (qemu, server):
        tap.equal(server.maps, {}, "maps before bus mastering")
        qemu.set_command(COMMAND_MEMORY | COMMAND_MASTER)
        # the maps are there as soon as the guest's instruction is over
        top = (RAM_MIB << 20) - 4096
        for address in (0x0, 0x5000, 0x100000, 0x1234000, top):
            data = os.urandom(64)
            qemu.write_bytes(address + 0x40, data)
            tap.equal(server.read_memory(address + 0x40, 64), data, f"RAM at {address:#x}")
            server.write_memory(address + 0x80, data[::-1])
            tap.equal(qemu.read_bytes(address + 0x80, 64), data[::-1], f"DMA at {address:#x}")
        tap.equal(server.read_memory(RAM_MIB << 20, 4), None, "a map beyond RAM")
        qemu.set_command(COMMAND_MEMORY)
        tap.equal(server.maps, {}, "maps after bus mastering")


@tap.test("memory on both sides of the 4 GiB hole is mapped at its own offset")
def dma_hole():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        ram = ["-object", "memory-backend-memfd,id=ram0,size=5G,share=on,reserve=off",
               "-machine", "memory-backend=ram0", "-m", "5G"]
        with Server(path) as server, Qemu(f"socket={path}", ram=ram) as qemu:
            qemu.map_bars()
            qemu.wait_live()
            for address in (0x7fff0000, (4 << 30) + 0x1000, (6 << 30) + (1 << 29)):
                data = os.urandom(16)
                qemu.write_bytes(address, data)
                tap.equal(server.read_memory(address, 16), data, f"RAM at {address:#x}")


@tap.test("two memory backends are mapped each from its own file")
def dma_numa():
    ram = ["-m", "64M", "-smp", "2",
           "-object", "memory-backend-memfd,id=a,size=32M,share=on",
           "-object", "memory-backend-memfd,id=b,size=32M,share=on",
           "-numa", "node,memdev=a", "-numa", "node,memdev=b"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Server(path) as server, Qemu(f"socket={path}", ram=ram) as qemu:
            qemu.map_bars()
            qemu.wait_live()
            for address in ((32 << 20) - 4096, 32 << 20):
                data = os.urandom(16)
                qemu.write_bytes(address, data)
                tap.equal(server.read_memory(address, 16), data, f"RAM at {address:#x}")


@tap.test("memory that is plugged in is mapped, and unmapped when unplugged")
def dma_hotplug():
    ram = ["-object", "memory-backend-memfd,id=ram0,size=64M,share=on",
           "-machine", "memory-backend=ram0", "-m", "64M,slots=2,maxmem=1G"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Server(path) as server, Qemu(f"socket={path}", ram=ram) as qemu:
            qemu.map_bars()
            qemu.wait_live()
            before = set(server.maps)
            qemu.qmp.command("object-add", qom_type="memory-backend-memfd", id="m1",
                             size=128 << 20, share=True)
            qemu.qmp.command("device_add", driver="pc-dimm", id="d1", memdev="m1")
            added = set(server.maps) - before
            tap.equal([server.maps[a][0] for a in added], [128 << 20], "maps added")
            address = added.pop()
            qemu.write_bytes(address + 0x1000, b"plugged!")
            tap.equal(server.read_memory(address + 0x1000, 8), b"plugged!", "plugged memory")


@tap.test("system_reset resets the device and takes all memory from it")
def reset_system():
    with pair() as (qemu, server):
        tap.true(server.maps, "no maps before")
        qemu.qmp.command("system_reset")
        qemu.qmp.wait_event("RESET")
        wait_until(lambda: server.resets == 1, "DEVICE_RESET")
        tap.equal(server.maps, {}, "maps after the reset")
        qemu.map_bars()
        tap.true(server.maps, "no maps after bus mastering was enabled again")
        tap.equal(qemu.register(0), vfu.MAGIC, "magic")


@tap.test("function level reset resets the device before the write completes")
def reset_flr():
    # VGPU-PCI-030
    with pair() as (qemu, server):
        interrupts_on(qemu, range(2))
        at = qemu.capability(0x10) + 8
        qemu.config_write(at, qemu.config(at) | 1 << 15)
        tap.equal(server.resets, 1, "DEVICE_RESETs")
        tap.equal(server.maps, {}, "maps after the reset")
        tap.equal(qemu.config(4) & 7, 0, "command register")
        tap.equal(qemu.config(qemu.capability(0x11)) >> 30, 0, "MSI-X control")
        qemu.set_command(COMMAND_MEMORY)
        qemu.config_write(0x20, BAR[4])
        tap.equal([qemu.read(BAR[4] + 16 + n) for n in (0, 4, 8, 12)], [0, 0, 0, 1],
                  "an entry of the MSI-X table")
        qemu.map_bars()
        tap.true(server.maps, "no maps after bus mastering was enabled again")
        interrupts_on(qemu, range(2))
        server.raise_irq(1)
        wait_until(lambda: arrived(qemu, 1), "an interrupt after the reset")


@tap.test("an interrupt signalled before a reset does not arrive after it")
def reset_forgets_interrupts():
    with pair() as (qemu, server):
        interrupts_on(qemu, range(2))
        qemu.msix_mask(1, True)
        server.raise_irq(1)
        at = qemu.capability(0x10) + 8
        qemu.config_write(at, qemu.config(at) | 1 << 15)
        qemu.map_bars()
        interrupts_on(qemu, range(2))
        tap.equal(qemu.pending(), 0, "pending bits")
        tap.true(not arrived(qemu, 1), "a stale interrupt")


@tap.test("the guest's driver is nudged by vector 0 when the back end goes and comes")
def nudge():
    with pair() as (qemu, server):
        interrupts_on(qemu, range(1))
        server.hang_up()
        wait_until(lambda: arrived(qemu, 0), "the interrupt at the loss or the return")
        qemu.write(MESSAGE, 0)
        qemu.wait_log("connected to", 2)
        qemu.wait_live()


@tap.test("a killed back end: all-ones until it is back, then everything is told again")
def reconnect():
    # VGPU-BUS-006
    with pair() as (qemu, server):
        interrupts_on(qemu, range(32))
        first = {a: m[0] for a, m in server.maps.items()}
        tap.equal(qemu.connected(), True, "property connected")
        server.hang_up()
        qemu.wait_log("lost")
        qemu.wait_live()
        tap.equal(server.connections, 2, "connections")
        tap.equal({a: m[0] for a, m in server.maps.items()}, first, "maps")
        data = os.urandom(32)
        qemu.write_bytes(0x200000, data)
        tap.equal(server.read_memory(0x200000, 32), data, "RAM")
        server.raise_irq(9)
        wait_until(lambda: arrived(qemu, 9), "an interrupt")
        qemu.ring(2)
        tap.equal(server.rung(2), 1, "a doorbell")


@tap.test("50 reconnects leak neither descriptors nor log lines")
def reconnect_many():
    with pair() as (qemu, server):
        fds = None
        for number in range(2, 52):
            server.hang_up()
            wait_until(lambda n=number: server.connections == n, f"connection {number}")
            qemu.wait_live()
            qemu.ring(1)
            tap.equal(server.rung(1), 1, "a doorbell")
            tap.true(server.read_memory(0x1000, 4) is not None, "RAM")
            fds = fds or qemu.open_fds()
        tap.equal(qemu.open_fds(), fds, "open descriptors")
        tap.true(qemu.log().count("lost") <= 10, "log lines:\n" + qemu.log())


@tap.test("a back end that starts after the guest is found")
def late_start():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Qemu(f"socket={path},reconnect-ms=10") as qemu:
            qemu.map_bars()
            tap.equal(qemu.register(0), ALL_ONES, "magic before")
            tap.equal(qemu.connected(), False, "property connected")
            with Server(path) as server:
                qemu.wait_live()
                tap.equal(qemu.register(0), vfu.MAGIC, "magic")
                tap.true(server.maps, "no maps")


@tap.test("stop and cont keep the connection and its interrupts")
def stop_cont():
    with pair() as (qemu, server):
        interrupts_on(qemu, range(2))
        qemu.qmp.command("stop")
        server.raise_irq(1)
        qemu.qmp.command("cont")
        wait_until(lambda: arrived(qemu, 1), "the interrupt")
        tap.equal(server.connections, 1, "connections")


@tap.test("device_add and device_del, 20 times, leave nothing behind")
def hotplug():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        ports = ["-device", "pcie-root-port,id=rp,chassis=1,slot=1,addr=5",
                 "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
        with Server(path) as server, Qemu(None, *ports) as qemu:
            qemu.config_write(0x18, 0x00010100, slot=5)
            fds = None
            for number in range(1, 21):
                qemu.qmp.command("device_add", driver="vgpu-pci", id="gpu", bus="rp",
                                 socket=path, reconnect_ms=10)
                wait_until(lambda n=number: server.connections == n and
                           vfu.SET_IRQS in server.commands, f"connection {number}")
                unplug(qemu, port=5)
                wait_until(lambda: server.connection is None, "the end of the connection")
                fds = fds or qemu.open_fds()
            tap.equal(qemu.open_fds(), fds, "open descriptors")


def unplug(qemu, port):
    """As an operating system does: switch the slot off, then it may go."""
    at = qemu.capability(0x10, slot=port)
    qemu.config_write(at + 0x18, 1 << 10 | 3 << 8, slot=port)
    qemu.qmp.command("device_del", id="gpu")
    qemu.qmp.wait_event("DEVICE_DELETED")


@tap.test("two devices in one VM do not mix")
def two_devices():
    with tempfile.TemporaryDirectory() as folder:
        a, b = os.path.join(folder, "a"), os.path.join(folder, "b")
        with Server(a) as first, Server(b) as second:
            with Qemu(f"socket={a}", "-device", f"vgpu-pci,addr=6,socket={b}") as qemu:
                qemu.map_bars()
                qemu.wait_live()
                qemu.config_write(0x10, 0xe1000000, slot=6)
                qemu.config_write(0x14, 0, slot=6)
                qemu.config_write(0x04, COMMAND_MEMORY, slot=6)
                wait_until(lambda: qemu.read(0xe1000000) == vfu.MAGIC, "the second device")
                qemu.set_register(0x100, 1)
                qemu.write(0xe1000100, 2)
                tap.equal((qemu.register(0x100), qemu.read(0xe1000100)), (1, 2), "registers")
                tap.true(first.maps and not second.maps, "only the first is bus master")


tap.main()
