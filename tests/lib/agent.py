# SPDX-License-Identifier: MIT
"""Host side of the guest agent (scripts/guest-agent.sh has the protocol).

A reader thread takes replies off the socket; requests may be outstanding from
any number of threads.  A guest that restarts announces itself again, and
requests outstanding then fail with AgentLost.
"""
import base64
import socket
import threading
import time

PATIENCE = 1    # what every time-out here is multiplied by: more for guests that are slow


class AgentError(Exception):
    """The agent broke the protocol or its connection."""


class AgentTimeout(AgentError):
    """No answer in time; the command may still be running."""


class AgentLost(AgentError):
    """The guest went away or restarted under the request."""


class Pending:
    """One request: wait() gives (exit status, output text)."""

    def __init__(self, agent, number, text):
        self._agent = agent
        self._number = number
        self.text = text
        self.result = None
        self.error = None

    def done(self):
        return self.result is not None or self.error is not None

    def wait(self, timeout_s=60):
        with self._agent.changed:
            if not self._agent.changed.wait_for(self.done, timeout_s * PATIENCE):
                raise AgentTimeout(f"no end within {timeout_s * PATIENCE} s: {self.text}")
        if self.error:
            raise self.error
        return self.result


class Agent:
    def __init__(self, connection):
        self.changed = threading.Condition()
        self.boots = 0
        self._connection = connection
        self._requests = {}
        self._next = 1
        self._gone = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_ready(self, boots, timeout_s):
        """Wait until the agent has announced itself that many times."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.boots >= boots or self._gone,
                                         timeout_s * PATIENCE):
                raise AgentTimeout(f"the guest's agent is not up after {timeout_s * PATIENCE} s")
            if self.boots < boots:
                raise AgentLost(f"the guest is gone before its agent was up: {self._gone}")

    def start(self, text):
        """Send a shell command; returns its Pending."""
        with self.changed:
            if self._gone:
                raise AgentLost(f"the guest is gone: {self._gone}")
            number, self._next = self._next, self._next + 1
            pending = self._requests[number] = Pending(self, number, text)
            line = b"run %d %s\n" % (number, base64.b64encode(text.encode()))
            try:
                self._connection.sendall(line)
            except OSError as error:
                raise AgentLost(f"the guest is gone: {error}") from error
        return pending

    def close(self):
        """End the reader; outstanding requests fail."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end was faster
        self._reader.join()
        self._connection.close()

    def _read(self):
        gone = "end of file"
        try:
            with self._connection.makefile("rb") as lines:
                for line in lines:
                    self._take(line.strip(), lines)
        except (OSError, ValueError, AgentError) as error:
            gone = str(error)
        with self.changed:
            self._gone = gone
            self._lose_all(f"the guest is gone: {gone}")

    def _take(self, line, lines):
        # a restart may leave a piece of a line in front of the announcement
        if line.endswith(b"@ready 1"):
            with self.changed:
                self.boots += 1
                self._lose_all("the guest restarted")
        elif line.startswith(b"@reply "):
            _, number, status, size = line.split()
            body = []
            for part in lines:
                part = part.strip()
                if part.endswith(b"@ready 1"):
                    self._take(part, lines)
                    return
                if part.startswith(b"@"):
                    break
                body.append(part)
            output = base64.b64decode(b"".join(body))
            if part != b"@end " + number or len(output) != int(size):
                raise AgentError(f"a damaged reply: {line!r}, {len(output)} bytes, {part!r}")
            with self.changed:
                pending = self._requests.pop(int(number), None)
                if pending:
                    pending.result = (int(status), output.decode(errors="replace"))
                self.changed.notify_all()

    def _lose_all(self, why):
        for pending in self._requests.values():
            pending.error = AgentLost(f"{why}, during: {pending.text}")
        self._requests.clear()
        self.changed.notify_all()


def poll(condition, timeout_s, what, interval_s=0.05):
    """Call condition until it returns something true, and return that."""
    timeout_s *= PATIENCE
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(interval_s)
