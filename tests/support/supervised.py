"""Programs run for real: started, watched line by line, signalled, and never left behind."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time


class Running:
    """One program of ours in a process group of its own; everything it says is kept."""

    def __init__(self, *argv, env=None):
        self.process = subprocess.Popen(
            [sys.executable, *map(str, argv)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
        self.said = []
        self.errors = []
        self._lines = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.said, self._lines), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors, None), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, kept, lines):
        for line in stream:
            kept.append(line.rstrip("\n"))
            if lines is not None:
                lines.put(line.rstrip("\n"))

    def wait_line(self, start, timeout=10.0):
        """The next line on standard output that starts so."""
        deadline = time.time() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.time()))
            except queue.Empty:
                raise AssertionError(f"no line {start!r} in {self.said}; errors: {self.errors}") from None
            if line.startswith(start):
                return line

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=10.0):
        """The exit code, and how long it took."""
        began = time.time()
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(2)
        return code, time.time() - began

    def close(self):
        """End whatever is left of what this object started. An app has a group of its own, and holds our pipes open."""
        if self.process.poll() is None:
            below = descendants(self.process.pid)
            self.process.kill()
            for pid in below:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it went along
        self.process.wait(5)
        wait_until(lambda: not group_members(self.process.pid), 3)
        for reader in self._readers:
            reader.join(2)
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()


def group_members(group):
    """The processes of a group that are alive."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(int(entry))
    return found


def descendants(pid):
    """Every process below this one."""
    found = [pid]
    for parent in found:
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as children:
                found += map(int, children.read().split())
        except OSError:
            continue
    return found[1:]


def wait_until(holds, timeout=5.0):
    """True as soon as `holds()` is; False when it did not come true in time."""
    deadline = time.time() + timeout
    while time.time() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return holds()


def ask(port, request=b"", timeout=5.0):
    """Connect, send, and read until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout) as client:
        client.sendall(request)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
        return received


def is_refused(port):
    """Whether nobody listens there."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) != 0


def kill(pid, number=signal.SIGKILL):
    """A signal to one process that a program of ours started."""
    os.kill(pid, number)
