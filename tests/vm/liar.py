# SPDX-License-Identifier: MIT
"""A back end that lies: between QEMU and vgpud, changing what the guest is told.

    with Liar(daemon.socket("A")) as liar, Guest(Config(socket=liar.path)) as guest:
        liar.registers[ABI_VERSION] = 2 << 16

Both ends speak vfio-user through it, files included, and neither can tell.  It changes the
answers to reads of registers, and knows from the traffic where the guest's memory and its admin
queue are, so that it can write there what no device would.

One thread per direction of a connection.  A guest's driver must take everything that comes
from here for hostile (VGPU-SEC-003), and go on once it is told the truth again.
"""
import array
import contextlib
import mmap
import os
import random
import signal
import socket
import struct
import tempfile
import threading

from vm import die_with_parent

HEADER = struct.Struct("<HHIII")        # id, command, size, flags, errno
ACCESS = struct.Struct("<QII")          # offset, region, count
MAP = struct.Struct("<IIQQQ")           # argsz, flags, offset, address, size
DMA_MAP, DMA_UNMAP, REGION_READ, REGION_WRITE = 2, 3, 9, 10
TYPE_MASK, REPLY, NO_REPLY = 0xf, 1, 0x10
MAX_FDS = 64
REGISTERS = 0                           # the BAR's number

TEST_IRQ = 0x184
ADMIN_BASE_LO, ADMIN_BASE_HI, ADMIN_LOG2 = 0x100, 0x104, 0x108
PAGE = 4096
CQE_BYTES, SQE_BYTES = 32, 64
CTX_CREATE = 0x8001
SQE = struct.Struct("<HHIQQ")           # opcode, flags, reserved, cookie, a context's queue
CQ_PROD, SQ_CONS, SQ_EVENT = 0, 64, 68  # words of the admin queue's first page


class Liar:
    """The proxy; `registers` maps an offset in BAR 0 to the value a read gives, and may be
    changed at any time."""

    def __init__(self, target):
        self.registers = {}
        self._target = target
        self._folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self._folder.name, "liar.sock")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        self._open = []
        self._lock = threading.Lock()
        self._memory = {}               # guest address -> (size, fd, offset in the file)
        self._written = {}              # register -> what the guest wrote
        self._sending = threading.Lock()    # one message at a time
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in [self._listener, *self._open]:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass    # its other end was faster
            connection.close()
        with self._lock:
            for _, fd, _ in self._memory.values():
                os.close(fd)
            self._memory.clear()
        self._folder.cleanup()

    # -- what a device could write ------------------------------------------

    def _window(self, address, size):
        """A piece of the guest's memory; None if it has no such memory.  With self._lock."""
        for start, (length, fd, offset) in self._memory.items():
            if address and start <= address and address + size <= start + length:
                at = offset + address - start
                window = mmap.mmap(fd, size + at % PAGE, offset=at - at % PAGE)
                return memoryview(window)[at % PAGE:]
        return None

    def _admin_place(self):
        """Address of the admin queue, and bytes of its half that the device writes."""
        address = self._written.get(ADMIN_BASE_LO, 0) | self._written.get(ADMIN_BASE_HI, 0) << 32
        return address, PAGE + (CQE_BYTES << (self._written.get(ADMIN_LOG2, 0) >> 8 & 0xff))

    def admin_queue(self):
        """The guest's admin queue as it lies in its memory, up to the entries of the
        completion queue; None if there is none."""
        with self._lock:
            return self._window(*self._admin_place())

    def context_queue(self):
        """The first page of the queue of the context that was created last; None if the admin
        queue knows of none any more."""
        with self._lock:
            address, written = self._admin_place()
            entries = written + -written % PAGE + PAGE
            size = SQE_BYTES << (self._written.get(ADMIN_LOG2, 0) & 0xff)
            ring = self._window(address + entries, size)
            if ring is None:
                return None
            commands = [SQE.unpack_from(ring, at) for at in range(0, size, SQE_BYTES)]
            # the cookies' upper bits count up
            created = [(cookie >> 16, queue) for opcode, _, _, cookie, queue in commands
                       if opcode == CTX_CREATE]
            return self._window(max(created)[1], PAGE) if created else None

    @contextlib.contextmanager
    def counting(self, queue):
        """While inside, a process of its own counts that queue's CQ_PROD up as fast as it can."""
        pid = os.fork()
        if not pid:
            die_with_parent()
            index = queue[CQ_PROD:CQ_PROD + 4].cast("I")
            while True:
                index[0] = index[0] + 1 & 0xffffffff
        try:
            yield
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def advance(self, word, step):
        """Add to an index of the admin queue; False if there is no queue."""
        queue = self.admin_queue()
        if queue is None:
            return False
        old, = struct.unpack_from("<I", queue, word)
        struct.pack_into("<I", queue, word, old + step & 0xffffffff)
        return True

    def scribble(self, rng=random):
        """Write nonsense where a device writes: its indices, and completions."""
        queue = self.admin_queue()
        if queue is None:
            return False
        for word in (CQ_PROD, SQ_CONS, SQ_EVENT):
            if rng.random() < 0.5:
                self.advance(word, rng.choice((1, 3, 64, 1000, 1 << 31, rng.randrange(1 << 32))))
        entry = PAGE + rng.randrange((len(queue) - PAGE) // CQE_BYTES) * CQE_BYTES
        queue[entry:entry + CQE_BYTES] = rng.randbytes(CQE_BYTES)
        return True

    def interrupt(self, vector):
        """Raise a vector for which there is no cause, as a posted write of TEST_IRQ."""
        size = HEADER.size + ACCESS.size + 4
        message = bytearray(HEADER.pack(0, REGION_WRITE, size, NO_REPLY, 0)
                            + ACCESS.pack(TEST_IRQ, REGISTERS, 4) + struct.pack("<I", vector))
        with self._sending:
            _send(self._open[-1], message, [])

    # -- passing on ----------------------------------------------------------

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                server.connect(self._target)
            except OSError:
                client.close()
                server.close()
                continue
            self._open += [client, server]
            for source, sink, look in ((client, server, self._asked), (server, client, self._told)):
                threading.Thread(target=self._pass_on, args=(source, sink, look),
                                 daemon=True).start()

    def _pass_on(self, source, sink, look):
        try:
            while True:
                message, fds = _receive(source)
                header = HEADER.unpack_from(message)
                look(header, message, fds)
                with self._sending:
                    _send(sink, message, fds)
                for fd in fds:
                    os.close(fd)
        except (OSError, EOFError):
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _asked(self, header, message, fds):
        """A message of QEMU: remember where memory and the queue are."""
        command, body = header[1], message[HEADER.size:]
        with self._lock:
            if command == DMA_MAP and fds:
                _, _, offset, address, size = MAP.unpack_from(body)
                self._forget(address, size)
                self._memory[address] = (size, os.dup(fds[0]), offset)
            elif command == DMA_UNMAP:
                _, _, address, size = struct.unpack_from("<IIQQ", body)
                self._forget(address, size)
            elif command == REGION_WRITE:
                offset, region, count = ACCESS.unpack_from(body)
                if region == REGISTERS and count == 4:
                    self._written[offset], = struct.unpack_from("<I", body, ACCESS.size)

    def _forget(self, address, size):
        for start in [start for start in self._memory if address <= start < address + size]:
            os.close(self._memory.pop(start)[1])

    def _told(self, header, message, _):
        """A message of vgpud: the truth is changed here."""
        if header[1] != REGION_READ or header[3] & TYPE_MASK != REPLY:
            return
        if header[2] < HEADER.size + ACCESS.size + 4:
            return
        offset, region, count = ACCESS.unpack_from(message, HEADER.size)
        if region == REGISTERS and count == 4 and offset in self.registers:
            struct.pack_into("<I", message, HEADER.size + ACCESS.size, self.registers[offset])


def _receive(source):
    """One whole message, and the files that came with it."""
    message, fds = bytearray(), []
    wanted = HEADER.size
    while len(message) < wanted:
        data, files = _receive_part(source, wanted - len(message))
        if not data:
            raise EOFError
        message += data
        fds += files
        if len(message) == HEADER.size:
            wanted = HEADER.unpack_from(message)[2]
    return message, fds


def _receive_part(source, size):
    data, ancillary, _, _ = source.recvmsg(size, socket.CMSG_SPACE(MAX_FDS * 4))
    fds = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[:len(content) // 4 * 4])
    return data, list(fds)


def _send(sink, message, fds):
    sent = socket.send_fds(sink, [message], fds) if fds else 0
    sink.sendall(message[sent:])
