# SPDX-License-Identifier: MIT
"""A small vfio-user server that a test can bend.

It plays the back end of one device: registers that remember what was written,
interrupts on the eventfds it was given, doorbell eventfds, and the client's
memory through the descriptors of its DMA maps.  Each command has a function;
a test replaces one by passing `overrides`:

    Server(path, {REGION_READ: lambda server, message: server.reply(message, b"")})

An override gets the message, and answers (or not) with the functions here; what
it returns does not matter, except that SAME means "now do the usual thing".

One thread serves one connection at a time; lock() guards what tests look at.
"""
import array
import os
import select
import socket
import struct
import threading

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, REGION_INFO, IO_FDS = 1, 2, 3, 4, 5, 6
IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE, RESET = 7, 8, 9, 10, 11, 12, 13
NAMES = {1: "VERSION", 2: "DMA_MAP", 3: "DMA_UNMAP", 4: "GET_INFO", 5: "REGION_INFO",
         6: "IO_FDS", 7: "IRQ_INFO", 8: "SET_IRQS", 9: "REGION_READ", 10: "REGION_WRITE",
         13: "RESET"}

HEADER = struct.Struct("<HHIII")
FLAG_REPLY, FLAG_NO_REPLY, FLAG_ERROR = 1, 1 << 4, 1 << 5
REGION_SIZES = {0: 0x4000, 2: 0x100000, 4: 0x4000, 7: 0x1000}
VECTORS = 32
CONTEXTS = 8
MAGIC = 0x55504756
SAME = object()


def config_space():
    space = bytearray(0x1000)
    struct.pack_into("<HH", space, 0x00, 0x1234, 0x7667)
    struct.pack_into("<I", space, 0x08, 0x030200 << 8 | 0x01)
    struct.pack_into("<HH", space, 0x2c, 0x1234, 0x0001)
    return space


class Message:
    def __init__(self, header, payload, fds):
        self.id, self.command, self.size, self.flags, self.error = HEADER.unpack(header)
        self.payload = payload
        self.fds = fds

    def take_fds(self):
        fds, self.fds = self.fds, []
        return fds


class Gone(Exception):
    """The client closed the connection, or the server does."""


class Server:
    def __init__(self, path, overrides=None, capabilities='{"capabilities":{"max_msg_fds":16}}'):
        self.path = path
        self.overrides = dict(overrides or {})
        self.capabilities = capabilities
        self.connections = 0
        self.commands = []          # of the present connection
        self.replies = []           # (command, error) of the client to ours
        self.writes = []            # (region, offset, bytes) of REGION_WRITE
        self.resets = 0
        self.maps = {}              # address -> (size, fd, offset, flags)
        self.irqs = {}
        self.doorbells = []
        self.version = None         # what the client sent
        self.registers = bytearray(REGION_SIZES[0])
        struct.pack_into("<I", self.registers, 0, MAGIC)
        self.config = config_space()
        self.error = None           # of the server itself: a broken test
        self.connection = None
        self._lock = threading.RLock()
        self._stop, self._stop_write = os.pipe()
        self._listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # ---- life ----

    def _listen(self):
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(8)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        if self.error:
            raise self.error

    def stop(self):
        os.write(self._stop_write, b"x")
        self._thread.join(30)
        self._listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)
        for fd in (self._stop, self._stop_write):
            os.close(fd)

    def lock(self):
        return self._lock

    def hang_up(self):
        """Die as a killed process does: the connection just ends."""
        with self._lock:
            if self.connection:
                self.connection.shutdown(socket.SHUT_RDWR)

    def _run(self):
        try:
            while True:
                ready, _, _ = select.select([self._listener, self._stop], [], [])
                if self._stop in ready:
                    return
                connection, _ = self._listener.accept()
                self._serve(connection)
        except Gone:
            return
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def _serve(self, connection):
        with self._lock:
            self.connection = connection
            self.connections += 1
            self.commands = []
        try:
            while True:
                message = self._receive()
                with self._lock:
                    self.commands.append(message.command)
                self._handle(message)
                for fd in message.fds:
                    os.close(fd)
        except (Gone, OSError) as error:
            if str(error) == "stop":
                raise
        finally:
            with self._lock:
                self.connection = None
                self._drop()
            connection.close()

    def _drop(self):
        for _, fd, _, _ in self.maps.values():
            os.close(fd)
        for fd in list(self.irqs.values()) + self.doorbells:
            os.close(fd)
        self.maps, self.irqs, self.doorbells = {}, {}, []

    # ---- messages ----

    def _wait(self):
        ready, _, _ = select.select([self.connection, self._stop], [], [])
        if self._stop in ready:
            raise Gone("stop")

    def _read(self, count):
        data, fds = b"", []
        while len(data) < count:
            self._wait()
            part, control, _, _ = self.connection.recvmsg(
                count - len(data), socket.CMSG_SPACE(4 * 253))
            for level, kind, body in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(body[:len(body) - len(body) % 4])
                    fds += list(numbers)
            if not part:
                raise Gone("client")
            data += part
        return data, fds

    def _receive(self):
        header, fds = self._read(HEADER.size)
        size = HEADER.unpack(header)[2]
        payload, more = self._read(size - HEADER.size) if size > HEADER.size else (b"", [])
        return Message(header, payload, fds + more)

    def raw(self, data, fds=()):
        control = []
        if fds:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        self.connection.sendmsg([data], control)

    def reply(self, message, payload=b"", fds=(), /, **bent):
        """Answer; bent: header fields that shall be wrong."""
        if message.flags & FLAG_NO_REPLY:
            return
        fields = {"id": message.id, "command": message.command,
                  "size": HEADER.size + len(payload), "flags": FLAG_REPLY, "error": 0}
        fields.update(bent)
        self.raw(HEADER.pack(fields["id"], fields["command"], fields["size"], fields["flags"],
                             fields["error"]) + payload, fds)

    def refuse(self, message, errno):
        self.reply(message, flags=FLAG_REPLY | FLAG_ERROR, error=errno)

    def _handle(self, message):
        if message.flags & FLAG_REPLY:
            self.replies.append((message.command, message.error))
            return
        with self._lock:
            override = self.overrides.get(message.command)
        if override and override(self, message) is not SAME:
            return
        with self._lock:
            getattr(self, "on_" + NAMES[message.command].lower())(message)

    # ---- what a good device does ----

    def on_version(self, message):
        self.version = message.payload
        self.reply(message, struct.pack("<HH", 0, 1) + self.capabilities.encode() + b"\0")

    def on_get_info(self, message):
        self.reply(message, struct.pack("<IIII", 16, 3, 9, 5))

    def on_region_info(self, message):
        index = struct.unpack_from("<I", message.payload, 8)[0]
        size = REGION_SIZES.get(index, 0)
        self.reply(message, struct.pack("<IIIIQQ", 32, 3, index, 0, size, 0))

    def on_irq_info(self, message):
        index = struct.unpack_from("<I", message.payload, 8)[0]
        self.reply(message, struct.pack("<IIII", 16, 1, index, VECTORS))

    def doorbell_entries(self):
        return [(context * 0x1000, 4, context, 0, 0) for context in range(CONTEXTS)]

    def doorbell_reply(self, message, entries, fds):
        body = b"".join(struct.pack("<QQIIIIQ", offset, size, index, kind, flags, 0, 0)
                        for offset, size, index, kind, flags in entries)
        self.reply(message, struct.pack("<IIII", 16 + len(body), 0, 2, len(entries)) + body, fds)

    def on_io_fds(self, message):
        self.doorbells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                          for _ in range(CONTEXTS)]
        self.doorbell_reply(message, self.doorbell_entries(), self.doorbells)

    def on_set_irqs(self, message):
        _, _, _, start, count = struct.unpack("<IIIII", message.payload)
        fds = message.take_fds()
        assert count == len(fds), f"{count} vectors with {len(fds)} descriptors"
        for vector, fd in enumerate(fds, start):
            self.irqs[vector] = fd
        self.reply(message)

    def on_dma_map(self, message):
        _, flags, offset, address, size = struct.unpack("<IIQQQ", message.payload)
        fd, = message.take_fds()
        for other, (length, _, _, _) in self.maps.items():
            assert address >= other + length or other >= address + size, "maps overlap"
        self.maps[address] = (size, fd, offset, flags)
        self.reply(message)

    def on_dma_unmap(self, message):
        _, _, address, size = struct.unpack("<IIQQ", message.payload)
        assert self.maps[address][0] == size, "an unmap that matches no map"
        os.close(self.maps.pop(address)[1])
        self.reply(message, message.payload)

    def on_region_read(self, message):
        offset, region, count = struct.unpack("<QII", message.payload)
        space = {0: self.registers, 7: self.config}[region]
        self.reply(message, message.payload + bytes(space[offset:offset + count]))

    def on_region_write(self, message):
        offset, region, count = struct.unpack_from("<QII", message.payload)
        data = message.payload[16:]
        assert len(data) == count, "a write whose count is not its length"
        self.writes.append((region, offset, data))
        if region == 0 and offset:
            self.registers[offset:offset + count] = data
        self.reply(message, message.payload[:16])

    def on_reset(self, message):
        self.resets += 1
        self.reply(message)

    # ---- what a test asks for ----

    def raise_irq(self, vector):
        with self._lock:
            os.eventfd_write(self.irqs[vector], 1)

    def rung(self, context):
        """How often the doorbell was rung since the last look."""
        with self._lock:
            try:
                return os.eventfd_read(self.doorbells[context])
            except BlockingIOError:
                return 0

    def read_memory(self, address, count):
        with self._lock:
            for base, (size, fd, offset, _) in self.maps.items():
                if base <= address and address + count <= base + size:
                    return os.pread(fd, count, offset + address - base)
        return None

    def write_memory(self, address, data):
        with self._lock:
            for base, (size, fd, offset, flags) in self.maps.items():
                if base <= address and address + len(data) <= base + size:
                    assert flags & 2, "a read-only map"
                    os.pwrite(fd, data, offset + address - base)
                    return
        raise AssertionError(f"{address:#x} is not mapped")
