#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vgpu-pci against back ends that are wrong, malicious, slow or dying.

In every case QEMU lives on, the guest's accesses end in bounded time, the
reason is logged once, and as soon as a good back end is there the device works.
"""
import contextlib
import os
import random
import re
import socket
import struct
import tempfile
import time

from qtest import ALL_ONES, BAR, COMMAND_MEMORY, PATIENT, Qemu, tap, wait_until
import vfu
from vfu import Server

BOUND_S = 30        # far beyond the short time-outs, far below "for ever"
DAMAGED = int(os.environ.get("VGPU_QTEST_DAMAGED", "300"))     # connections
HASTY = ",timeout-ms=300,release-timeout-ms=300"


@contextlib.contextmanager
def guest(*extra, overrides=None, options=PATIENT, **server):
    """A server and a QEMU, not necessarily connected."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Server(path, overrides=overrides, **server) as back_end:
            with Qemu(f"socket={path},reconnect-ms=10{options}", *extra) as qemu:
                qemu.map_bars()
                yield qemu, back_end


def recovers(qemu, server):
    """Let the server be good from now on: the device must come alive."""
    with server.lock():
        server.overrides.clear()
    qemu.wait_live()
    tap.equal(qemu.register(0), vfu.MAGIC, "magic")
    qemu.ring(1)
    tap.equal(server.rung(1), 1, "a doorbell")


def refused(pattern, overrides):
    """This server is refused in the handshake, for this reason, again and again."""
    options = HASTY if "no answer" in pattern else PATIENT
    with guest(overrides=overrides, options=options) as (qemu, server):
        qemu.wait_log(pattern)
        wait_until(lambda: server.connections >= 5, "further attempts")
        tap.equal(qemu.register(0), ALL_ONES, "magic")
        lines = [x for x in qemu.log().splitlines() if "lost" in x]
        tap.equal(len([x for x in lines if re.search(pattern, x)]), 1, f"reports in {lines}")
        if options == PATIENT:
            tap.equal(len(lines), 1, f"reports of anything in {lines}")
        recovers(qemu, server)


def bent(which, /, **fields):
    """An override that answers with these header fields and the usual payload."""
    def answer(server, message):
        reply = server.reply
        server.reply = lambda m, payload=b"", fds=(), **kw: reply(m, payload, fds, **fields)
        try:
            getattr(server, "on_" + vfu.NAMES[which].lower())(message)
        finally:
            server.reply = reply
    return {which: answer}


def fixed(command, payload, fds=0):
    """An override that answers with these bytes and this many descriptors."""
    def answer(server, message):
        files = [os.eventfd(0) for _ in range(fds)]
        server.reply(message, payload, files)
        for fd in files:
            os.close(fd)
    return {command: answer}


# ---- Refused in the handshake: one table, one test per line (VGPU-BUS-003) ----

def version_payload(major, minor, json):
    return struct.pack("<HH", major, minor) + json


def config_with(offset, value):
    def answer(server, message):
        space = vfu.config_space()
        struct.pack_into("<I", space, offset, value)
        server.reply(message, message.payload + bytes(space[:64]))
    return {vfu.REGION_READ: answer}


def region_size(bad_index, size):
    def answer(server, message):
        index = struct.unpack_from("<I", message.payload, 8)[0]
        if index != bad_index:
            return vfu.SAME
        server.reply(message, struct.pack("<IIIIQQ", 32, 3, index, 0, size, 0))
        return None
    return {vfu.REGION_INFO: answer}


def doorbells(entries=None, fds=None, kind="eventfd"):
    """Doorbells, some of them wrong; `kind` of file behind them."""
    def answer(server, message):
        count = vfu.CONTEXTS if fds is None else fds
        pipe = os.pipe()
        file = {"eventfd": lambda: os.eventfd(0), "pipe": lambda: os.dup(pipe[1]),
                "null": lambda: os.open("/dev/null", os.O_RDWR),
                "socket": lambda: socket.socket(socket.AF_UNIX).detach(),
                "file": lambda: os.memfd_create("x")}[kind]
        server.doorbells = [file() for _ in range(count)]
        usual = server.doorbell_entries()
        server.doorbell_reply(message, entries(usual) if entries else usual, server.doorbells)
        os.close(pipe[0])
        os.close(pipe[1])
    return {vfu.IO_FDS: answer}


def changed(index, **fields):
    """The usual doorbells, with fields of one replaced."""
    names = ("offset", "size", "fd_index", "type", "flags")

    def entries(usual):
        old = dict(zip(names, usual[index]))
        usual[index] = tuple({**old, **fields}[n] for n in names)
        return usual
    return doorbells(entries)


REFUSED = [
    ("a higher major version", r"speaks vfio-user 1\.0",
     fixed(vfu.VERSION, version_payload(1, 0, b"{}\0"))),
    ("a higher minor version", r"speaks vfio-user 0\.2",
     fixed(vfu.VERSION, version_payload(0, 2, b"{}\0"))),
    ("a version reply too short", "a reply of only 2 bytes", fixed(vfu.VERSION, b"\0\0")),
    ("a version without terminator", "have no end",
     fixed(vfu.VERSION, version_payload(0, 1, b"{}"))),
    ("a version that is no JSON", "not a JSON object",
     fixed(vfu.VERSION, version_payload(0, 1, b"{[\0"))),
    ("a version that is a JSON list", "not a JSON object",
     fixed(vfu.VERSION, version_payload(0, 1, b"[1]\0"))),
    ("deeply nested JSON", "not a JSON object",
     fixed(vfu.VERSION, version_payload(0, 1, b"[" * 8000 + b"\0"))),
    ("capabilities that are no object", "not an object",
     fixed(vfu.VERSION, version_payload(0, 1, b'{"capabilities":7}\0'))),
    ("a capability of zero", "impossible value",
     fixed(vfu.VERSION, version_payload(0, 1, b'{"capabilities":{"max_msg_fds":0}}\0'))),
    ("a negative capability", "impossible value",
     fixed(vfu.VERSION, version_payload(0, 1, b'{"capabilities":{"max_dma_maps":-1}}\0'))),
    ("a capability that is a string", "impossible value",
     fixed(vfu.VERSION, version_payload(0, 1, b'{"capabilities":{"pgsizes":"4k"}}\0'))),
    ("an error reply to the version", "version: Protocol not supported",
     {vfu.VERSION: lambda server, message: server.refuse(message, 93)}),
    ("a device that is not PCI", "not a PCI device",
     fixed(vfu.GET_INFO, struct.pack("<IIII", 16, 1, 9, 5))),
    ("a device that cannot be reset", "not a PCI device",
     fixed(vfu.GET_INFO, struct.pack("<IIII", 16, 2, 9, 5))),
    ("a device with too few regions", "not a PCI device",
     fixed(vfu.GET_INFO, struct.pack("<IIII", 16, 3, 7, 5))),
    ("a device with too few interrupts", "not a PCI device",
     fixed(vfu.GET_INFO, struct.pack("<IIII", 16, 3, 9, 2))),
    ("a device info too short", "a reply of only 12 bytes", fixed(vfu.GET_INFO, bytes(12))),
    ("a register BAR of another size", "region 0 has 8192 bytes", region_size(0, 0x2000)),
    ("a doorbell BAR without bounds", f"region 2 has {(1 << 64) - 1} bytes",
     region_size(2, (1 << 64) - 1)),
    ("conventional config space", "region 7 has 256 bytes", region_size(7, 256)),
    ("info about another region", "not asked for",
     fixed(vfu.REGION_INFO, struct.pack("<IIIIQQ", 32, 3, 1, 0, 0x4000, 0))),
    ("16 vectors", "not 32 MSI-X vectors", fixed(vfu.IRQ_INFO, struct.pack("<IIII", 16, 1, 2, 16))),
    ("vectors without eventfds", "not 32 MSI-X vectors",
     fixed(vfu.IRQ_INFO, struct.pack("<IIII", 16, 0, 2, 32))),
    ("another device id", "is 1234:1111", config_with(0, 0x11111234)),
    ("another vendor", "is 8086:7667", config_with(0, 0x76678086)),
    ("another class", "class 030000", config_with(8, 0x03000001)),
    ("another revision", "revision 02", config_with(8, 0x03020002)),
    ("another subsystem", "not a vGPU of this revision", config_with(0x2c, 0x00021234)),
    ("a config read too short", "a reply of only 20 bytes", fixed(vfu.REGION_READ, bytes(20))),
    ("no doorbells", "no doorbell", fixed(vfu.IO_FDS, struct.pack("<IIII", 16, 0, 2, 0))),
    ("a doorbell list too short", "too short", fixed(vfu.IO_FDS, bytes(8))),
    ("more doorbells than the list holds", "shorter than its count",
     fixed(vfu.IO_FDS, struct.pack("<IIII", 56, 0, 2, 2) + bytes(40), fds=1)),
    ("more doorbells than pages", "malformed doorbell list",
     fixed(vfu.IO_FDS, struct.pack("<IIII", 56, 0, 2, 257) + bytes(40), fds=1)),
    ("doorbells of another region", "malformed doorbell list",
     fixed(vfu.IO_FDS, struct.pack("<IIII", 56, 0, 0, 1) + bytes(40), fds=1)),
    ("a list whose size is not what was sent", "malformed doorbell list",
     fixed(vfu.IO_FDS, struct.pack("<IIII", 0xfffffff0, 0, 2, 1) + bytes(40), fds=1)),
    ("a doorbell beyond the BAR", "not at the start of a page", changed(7, offset=0x100000)),
    ("a doorbell at 2^64-4096", "not at the start of a page", changed(7, offset=(1 << 64) - 4096)),
    ("a doorbell inside a page", "not at the start of a page", changed(3, offset=0x3004)),
    ("two doorbells of one page", "two doorbells of one page", changed(3, offset=0x2000)),
    ("a doorbell of 8 bytes", "not a plain 4-byte ioeventfd", changed(0, size=8)),
    ("a doorbell of any size", "not a plain 4-byte ioeventfd", changed(0, size=0)),
    ("a doorbell with datamatch", "not a plain 4-byte ioeventfd", changed(0, flags=1)),
    ("an ioregionfd", "not a plain 4-byte ioeventfd", changed(0, type=1)),
    ("a descriptor index out of range", "descriptor did not come", changed(7, fd_index=8)),
    ("a descriptor index of 2^32-1", "descriptor did not come", changed(7, fd_index=0xffffffff)),
    ("doorbells without descriptors", "descriptor did not come", doorbells(fds=0)),
    ("a pipe as a doorbell", "is no eventfd", doorbells(kind="pipe")),
    ("/dev/null as a doorbell", "is no eventfd", doorbells(kind="null")),
    ("a socket as a doorbell", "is no eventfd", doorbells(kind="socket")),
    ("a file as a doorbell", "is no eventfd", doorbells(kind="file")),
    ("a refusal of interrupts", "interrupts: Invalid argument",
     {vfu.SET_IRQS: lambda server, message: server.refuse(message, 22)}),
    ("an error without a number", "device info: Input/output error",
     {vfu.GET_INFO: lambda server, message: server.refuse(message, 0)}),
    ("an error with a number that is none", "device info: Input/output error",
     {vfu.GET_INFO: lambda server, message: server.refuse(message, 0xffffffff)}),
    ("a message size below the header's", "a reply to/of command 4 of 15 bytes",
     bent(vfu.GET_INFO, size=15)),
    ("a message size of zero", "of 0 bytes", bent(vfu.GET_INFO, size=0)),
    ("a message size of 4 GiB", "of 4294967295 bytes", bent(vfu.GET_INFO, size=0xffffffff)),
    ("a reply larger than was asked for", "a reply to/of command 4 of 36 bytes",
     fixed(vfu.GET_INFO, bytes(20))),
    ("a reply to no request", "a reply to no request", bent(vfu.GET_INFO, id=0x7777)),
    ("a reply that names another command", "names command 9", bent(vfu.GET_INFO, command=9)),
    ("a message of unknown type", "unknown type 5", bent(vfu.GET_INFO, flags=5)),
    ("no answer to the version", "no answer within 300 ms .state version",
     {vfu.VERSION: lambda server, message: None}),
    ("no answer to the doorbells", "no answer within 300 ms .state doorbells",
     {vfu.IO_FDS: lambda server, message: None}),
    ("half a header, then nothing", "no answer within 300 ms",
     {vfu.VERSION: lambda server, message: server.raw(b"\x01\0\x01")}),
]


def declare(name, pattern, overrides):
    @tap.test(f"refused in the handshake: {name}")
    def handshake():
        refused(pattern, overrides)


for case in REFUSED:
    declare(*case)


@tap.test("refused in the handshake: no answer to a memory map")
def mute_map():
    with guest(options=HASTY) as (qemu, server):
        qemu.wait_live()        # bus mastering is on: the next handshake has maps
        with server.lock():
            server.overrides[vfu.DMA_MAP] = lambda s, m: None
        server.hang_up()
        qemu.wait_log("no answer within 300 ms .state maps")
        tap.equal(qemu.register(0), ALL_ONES, "magic")
        recovers(qemu, server)


# ---- Odd but right ----

@tap.test("a reply that comes byte by byte is understood")
def dribble():
    def answer(server, message):
        data = vfu.HEADER.pack(message.id, message.command, 32, 1, 0) \
            + struct.pack("<IIII", 16, 3, 9, 5)
        for byte in data:
            server.raw(bytes([byte]))
    with guest(overrides={vfu.GET_INFO: answer}) as (qemu, _):
        qemu.wait_live()


@tap.test("descriptors that come with the payload, not the header, are taken")
def late_descriptors():
    def answer(server, message):
        server.doorbells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(vfu.CONTEXTS)]
        sent = []
        raw, server.raw = server.raw, lambda data, fds=(): sent.append(data)
        server.doorbell_reply(message, server.doorbell_entries(), server.doorbells)
        server.raw = raw
        server.raw(sent[0][:16])
        server.raw(sent[0][16:30], server.doorbells[:3])
        server.raw(sent[0][30:], server.doorbells[3:])
    with guest(overrides={vfu.IO_FDS: answer}) as (qemu, server):
        qemu.wait_live()
        qemu.ring(7)
        tap.equal(server.rung(7), 1, "a doorbell")


@tap.test("descriptors nobody asked for are closed")
def unwanted_descriptors():
    def answer(server, message):
        pipes = [os.pipe() for _ in range(20)]
        offset, _, count = struct.unpack("<QII", message.payload)
        fds = [fd for pipe in pipes for fd in pipe]
        server.reply(message, message.payload + bytes(server.registers[offset:offset + count]), fds)
        for fd in fds:
            os.close(fd)
    with guest() as (qemu, server):
        qemu.wait_live()
        before = qemu.open_fds()
        with server.lock():
            server.overrides[vfu.REGION_READ] = answer
        for _ in range(100):
            tap.equal(qemu.register(0), vfu.MAGIC, "magic")
        tap.equal(qemu.open_fds(), before, "open descriptors")


@tap.test("commands of the back end are refused without harm, also within an access")
def server_commands():
    def answer(server, _message):
        for command in (vfu.DMA_READ, vfu.DMA_WRITE, 99):
            server.raw(vfu.HEADER.pack(77, command, 16 + 4112, 0, 0) + bytes(4112))
        return vfu.SAME
    with guest() as (qemu, server):
        qemu.wait_live()
        with server.lock():
            server.overrides[vfu.REGION_READ] = answer
        tap.equal(qemu.register(0), vfu.MAGIC, "magic")
        wait_until(lambda: len(server.replies) == 3, "three refusals")
        tap.equal(server.replies, [(11, 95), (12, 95), (99, 95)], "refusals")
        tap.equal(server.connections, 1, "connections")


@tap.test("a map that the back end refuses costs that memory, not the device")
def map_refused():
    def answer(server, message):
        if struct.unpack_from("<Q", message.payload, 16)[0] < 0x100000:
            server.refuse(message, 12)
            return None
        return vfu.SAME
    with guest(overrides={vfu.DMA_MAP: answer}) as (qemu, server):
        qemu.wait_live()
        qemu.wait_log("refuses to map guest memory at 0x0-")
        tap.true(server.read_memory(0x200000, 4) is not None, "other memory")
        qemu.set_command(COMMAND_MEMORY)
        tap.equal(server.maps, {}, "maps after bus mastering")
        tap.equal(server.connections, 1, "connections")


# ---- Dying and hanging while live ----

def lost_once(qemu, server, override, command=vfu.REGION_READ, access=None):
    """Bend a live server; one access must end in time, and give all-ones."""
    qemu.wait_live()
    with server.lock():
        server.overrides[command] = override
    start = time.monotonic()
    (access or (lambda: tap.equal(qemu.register(0), ALL_ONES, "magic")))()
    tap.true(time.monotonic() - start < BOUND_S, "the access took for ever")
    with server.lock():
        server.overrides.clear()
    qemu.wait_log("lost")


def lost_in_access(qemu, server, *bent_how):
    lost_once(qemu, server, *bent_how)
    recovers(qemu, server)


@tap.test("the back end dies within a read")
def dies_in_read():
    with guest() as (qemu, server):
        lost_in_access(qemu, server, lambda s, m: s.hang_up())
        qemu.wait_log("closed the connection")


@tap.test("the back end dies in the middle of a reply")
def dies_in_reply():
    def answer(server, message):
        server.raw(vfu.HEADER.pack(message.id, message.command, 36, 1, 0) + bytes(7))
        server.hang_up()
    with guest() as (qemu, server):
        lost_in_access(qemu, server, answer)
        qemu.wait_log("closed the connection")


@tap.test("the back end never answers a read: all-ones after the time-out, once")
def hangs_in_read():
    with guest(options=HASTY) as (qemu, server):
        lost_in_access(qemu, server, lambda s, m: None)
        qemu.wait_log("no answer to a register read within 300 ms")


@tap.test("a back end that hangs again and again is tried less and less often")
def hangs_repeatedly():
    with guest("-trace", "vgpu_conn_lost", options=HASTY) as (qemu, server):
        for number in range(1, 6):
            wait_until(lambda n=number: server.connections == n, f"connection {number}")
            lost_once(qemu, server, lambda s, m: None)
        pauses = [int(x) for x in qemu.wait_log(r"vgpu_conn_lost state live.*pause (\d+) ms", 5)]
        tap.equal(pauses, [20, 40, 80, 160, 320], "pauses in ms")


@tap.test("a late answer to an abandoned read harms nobody")
def late_answer():
    def answer(server, message):
        server.overrides.clear()
        wait_until(lambda: "no answer" in qemu.log(), "the time-out")
        server.reply(message, message.payload + b"late")
    with guest(options=HASTY) as (qemu, server):
        qemu.wait_live()
        with server.lock():
            server.overrides[vfu.REGION_READ] = answer
        tap.equal(qemu.register(0), ALL_ONES, "magic")
        recovers(qemu, server)


@tap.test("a read answered with too little, too much or an error drops the connection")
def bad_read_answers():
    with guest() as (qemu, server):
        right = struct.pack("<QII", 0, 0, 4)
        answers = (b"", right, right + bytes(3), right + bytes(5), right + bytes(4096),
                   struct.pack("<QII", 4, 0, 4) + bytes(4),
                   struct.pack("<QII", 0, 2, 4) + bytes(4),
                   struct.pack("<QII", 0, 0, 8) + bytes(4))
        for payload in answers:
            lost_in_access(qemu, server, lambda s, m, p=payload: s.reply(m, p))
        lost_in_access(qemu, server, lambda s, m: s.refuse(m, 5))
        tap.equal(server.connections, len(answers) + 2, "connections")


@tap.test("a back end that does not read its socket stops the guest for a bounded time")
def does_not_read():
    def answer(server, message):
        server.overrides.clear()
        wait_until(lambda: "lost" in qemu.log(), "the time-out", BOUND_S)

    def flood():
        for number in range(100000):
            qemu.set_register(0x40, number)
            if number % 64 == 0 and "lost" in qemu.log():
                return
        tap.fail("100000 posted writes found room")
    with guest(options=HASTY) as (qemu, server):
        lost_in_access(qemu, server, answer, vfu.REGION_WRITE, flood)
        qemu.wait_log("no answer to register writes within 300 ms")


@tap.test("a back end that floods the connection with commands is dropped")
def floods():
    def answer(flags):
        def flood(server, _message):
            junk = vfu.HEADER.pack(1, vfu.DMA_READ, 16, flags, 0) * 64
            try:
                for _ in range(100000):
                    server.raw(junk)
            except OSError:
                return
            raise AssertionError("6400000 commands were accepted")
        return flood
    with guest() as (qemu, server):
        for flags in (0, vfu.FLAG_NO_REPLY):
            lost_in_access(qemu, server, answer(flags))
        tap.true(re.search("goes on sending commands|does not read its socket", qemu.log()),
                 "the reason is not in the log")


@tap.test("a reset that is not answered is given up")
def hangs_in_reset():
    def reset():
        qemu.qmp.command("system_reset")
        qemu.qmp.wait_event("RESET")
    with guest(options=HASTY) as (qemu, server):
        qemu.wait_live()
        with server.lock():
            server.overrides[vfu.RESET] = lambda s, m: None
        reset()
        qemu.wait_log("no answer to a reset within 300 ms")
        qemu.map_bars()
        recovers(qemu, server)


@tap.test("an unmap that is not answered is given up, and the connection with it")
def hangs_in_unmap():
    with guest(options=HASTY) as (qemu, server):
        qemu.wait_live()
        with server.lock():
            server.overrides[vfu.DMA_UNMAP] = lambda s, m: None
        start = time.monotonic()
        qemu.set_command(COMMAND_MEMORY)
        tap.true(time.monotonic() - start < BOUND_S, "the access took for ever")
        qemu.wait_log("no answer to a change of DMA mappings within 300 ms")
        recovers(qemu, server)


@tap.test("an unmap waits for its answer, and the guest with it")
def unmap_waits():
    released = []

    def answer(server, message):
        if not released:
            time.sleep(0.1)         # the executors take their time
        released.append(message)
        return vfu.SAME
    with guest() as (qemu, server):
        qemu.wait_live()
        count = len(server.maps)
        with server.lock():
            server.overrides[vfu.DMA_UNMAP] = answer
        qemu.set_command(COMMAND_MEMORY)
        tap.equal(len(released), count, "unmaps answered when the guest went on")


@tap.test("an unmap that is refused drops the connection")
def unmap_refused():
    with guest() as (qemu, server):
        qemu.wait_live()
        with server.lock():
            server.overrides[vfu.DMA_UNMAP] = lambda s, m: s.refuse(m, 16)
        qemu.set_command(COMMAND_MEMORY)
        qemu.wait_log("refuses to let go of guest memory")
        recovers(qemu, server)


@tap.test("a back end that dies at each handshake step in turn, 50 times")
def dies_everywhere():
    with guest() as (qemu, server):
        qemu.wait_live()
        fds = qemu.open_fds()
        steps = [c for c in vfu.NAMES if c <= vfu.REGION_READ and c not in (3,)]
        for number in range(50):
            with server.lock():
                server.overrides = {steps[number % len(steps)]: lambda s, m: s.hang_up()}
            server.hang_up()
            wait_until(lambda: server.connections >= 3 * (number + 1), "more attempts")
        recovers(qemu, server)
        tap.equal(qemu.open_fds(), fds, "open descriptors")
        tap.true(len(qemu.log().splitlines()) < 100, "a log flood:\n" + qemu.log())


@tap.test(f"{DAMAGED} connections with randomly damaged messages")
def damaged():
    seed = int.from_bytes(os.urandom(4), "little")
    tap.diagnose(f"seed {seed}")
    rng = random.Random(seed)

    def damage(data):
        data = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            at = rng.randrange(len(data))
            data[at] = rng.choice((0, 1, 0xff, 0x80, data[at] ^ 1 << rng.randrange(8)))
        if rng.random() < 0.1:
            del data[rng.randrange(len(data)):]
        return bytes(data)

    with guest(options=",timeout-ms=30,release-timeout-ms=30") as (qemu, server):
        raw = server.raw
        server.raw = lambda data, fds=(): raw(damage(data) if rng.random() < 0.1 else data, fds)
        deadline = time.monotonic() + max(120, DAMAGED)
        while server.connections < DAMAGED and time.monotonic() < deadline:
            qemu.register(0)
            qemu.set_register(0x40, 1)
            qemu.ring(3)
            qemu.set_command(rng.choice((2, 6)))
        tap.true(server.connections >= DAMAGED, f"only {server.connections} connections")
        server.raw = raw
        server.hang_up()
        qemu.map_bars()
        wait_until(lambda: qemu.register(0) == vfu.MAGIC, "the device to answer")
        recovers(qemu, server)
        tap.true(len(qemu.log().splitlines()) < 60, "a log flood:\n" + qemu.log())


@tap.test("a socket that accepts but belongs to nothing blocks no guest access")
def mute_listener():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            with Qemu(f"socket={path},reconnect-ms=10,timeout-ms=60000,"
                      "release-timeout-ms=60000", "-trace", "vgpu_conn_state") as qemu:
                qemu.wait_log("down -> version")
                qemu.map_bars()
                start = time.monotonic()
                for _ in range(1000):
                    tap.equal(qemu.register(0), ALL_ONES, "magic")
                    qemu.write(BAR[2], 1)
                tap.true(time.monotonic() - start < BOUND_S, "accesses were blocked")


tap.main()
