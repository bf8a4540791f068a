# SPDX-License-Identifier: MIT
"""A client of QEMU's monitor protocol (QMP) over a connected socket.

One user at a time.  Events that arrive are kept in `events`; wait_event takes
the first of a kind out of them.
"""
import json
import socket
import time


class QmpError(Exception):
    """The monitor refused a command, or went away."""


class Qmp:
    def __init__(self, connection, timeout_s=60):
        self.connection = connection
        self.events = []
        self._buffer = b""
        self._deadline = time.monotonic() + timeout_s
        if "QMP" not in self._read():
            raise QmpError("no QMP greeting")
        self.command("qmp_capabilities", timeout_s=timeout_s)

    def _read(self):
        """The next message, before the deadline."""
        while b"\n" not in self._buffer:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise QmpError("the monitor does not answer")
            self.connection.settimeout(left)
            try:
                data = self.connection.recv(65536)
            except socket.timeout:
                continue
            except OSError as error:
                raise QmpError(f"the monitor is gone: {error}") from error
            if not data:
                raise QmpError("the monitor closed the connection")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, timeout_s=60, **arguments):
        """Run a command and return its result; underscores in argument names
        stand for dashes."""
        self._deadline = time.monotonic() + timeout_s
        message = {"execute": name}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        try:
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"the monitor is gone: {error}") from error
        while True:
            answer = self._read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError(f"{name}: {answer['error'].get('desc', answer['error'])}")
            elif "return" in answer:
                return answer["return"]

    def wait_event(self, name, timeout_s=60):
        self._deadline = time.monotonic() + timeout_s
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(index)
            message = self._read()
            if "event" in message:
                self.events.append(message)

    def close(self):
        self.connection.close()
