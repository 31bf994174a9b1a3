"""The access log's writer: lines go to a file or to standard output, and nothing ever waits for them.

Theory of operation: `offer` formats and queues; a thread of its own writes. A blocked pipe blocks that thread and
nobody else; when the queue is full, lines are dropped and counted. A full disk loses the lines at hand, is told of
once, and is tried again after a pause. Rule 1: the queue is bounded in octets, because a client decides how long a
line is. Rule 2: a file that was renamed or removed under us (log rotation) is opened anew within a second, or at once
by `reopen`; one that cannot be opened leaves us writing where we did. Rule 3: a line that broke off half-way ends
before the next one begins.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from meshd.core.cells import Key
from meshd.telemetry.access_line import FORMATS
from meshd.telemetry.record import Record

log = logging.getLogger(__name__)

QUEUE_OCTETS: Final = 4 * 1024 * 1024
WRITE_OCTETS: Final = 64 * 1024  # in one system call
PAUSE: Final = 1.0  # seconds between tries after a failed write, and between looks at whether the file was renamed
FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
STDOUT: Final = 1


class AccessLog:
    """One file, or standard output for "-". Raises OSError when the file cannot be opened at the start."""

    __slots__ = (
        "_closing",
        "_fd",
        "_format",
        "_lines",
        "_path",
        "_queued",
        "_reopen",
        "_thread",
        "_torn",
        "_wake",
        "dropped",
        "failing",
        "written",
    )

    def __init__(self, path: str, format_name: str = "json") -> None:
        self._path = path
        self._format = FORMATS[format_name]
        self._fd = self._open()
        self._lines: deque[bytes] = deque()
        self._queued = 0
        self._wake = threading.Condition()
        self._closing = False
        self._reopen = False
        self._torn = False
        self.dropped = 0
        self.written = 0
        self.failing = False
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def offer(self, records: Iterable[Record]) -> None:
        """Queue a line for each; never waits."""
        lines = [self._format(record).encode("ascii", "backslashreplace") for record in records]
        with self._wake:
            for line in lines:
                if self._closing or self._queued + len(line) > QUEUE_OCTETS:
                    self.dropped += 1
                else:
                    self._lines.append(line)
                    self._queued += len(line)
            self._wake.notify()

    def reopen(self) -> None:
        """Open the path anew before the next line, as after a rotation."""
        with self._wake:
            self._reopen = True
            self._wake.notify()

    def close(self, timeout: float) -> None:
        """Write what is queued, for at most `timeout` seconds. What a blocked pipe still holds then is lost."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)

    def counters(self) -> Iterator[tuple[Key, float]]:
        """For `Metrics.watch`."""
        yield ("meshd.log.lines", ()), self.written
        yield ("meshd.telemetry.dropped", (("meshd.at", "access log"),)), self.dropped

    def statistics(self) -> dict[str, int]:
        """Lines and octets so far."""
        return {"written": self.written, "dropped": self.dropped, "queued_octets": self._queued}

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._lines and not self._closing and not self._reopen:
                    self._wake.wait()
                lines = self._take()
                closing, reopen, self._reopen = self._closing, self._reopen, False
            if reopen or (lines and self._has_moved()):
                self._open_again()
            if lines and not self._write(lines) and not closing:
                with self._wake:
                    self._wake.wait_for(lambda: self._closing or self._reopen, PAUSE)
            if closing and not self._lines:
                break
        if self._fd != STDOUT:
            os.close(self._fd)

    def _take(self) -> list[bytes]:
        """The next lines, as many as go into one write. The lock is held."""
        lines: list[bytes] = []
        octets = 0
        while self._lines and (not lines or octets + len(self._lines[0]) <= WRITE_OCTETS):
            line = self._lines.popleft()
            octets += len(line)
            lines.append(line)
        self._queued -= octets
        return lines

    def _write(self, lines: list[bytes]) -> bool:
        """Write them all; False when the system would not."""
        rest = memoryview(b"".join(lines if not self._torn else [b"\n", *lines]))
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
                self._torn = bool(rest)
        except OSError as error:
            lost = min(len(lines), bytes(rest).count(b"\n"))
            self.dropped += lost
            self.written += max(0, len(lines) - lost)
            if not self.failing:
                log.warning("the access log %s cannot be written, lines are dropped: %s", self._path, error.strerror)
            self.failing = True
            return False
        self.written += len(lines)
        if self.failing:
            log.warning("the access log %s is written again; %d lines were dropped", self._path, self.dropped)
            self.failing = False
        return True

    def _has_moved(self) -> bool:
        if self._fd == STDOUT:
            return False
        try:
            there, here = os.stat(self._path), os.fstat(self._fd)
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _open(self) -> int:
        if self._path == "-":
            return STDOUT
        try:
            return os.open(self._path, FLAGS, 0o640)
        except OSError as error:
            what = f"cannot open the access log {self._path}: {error.strerror}"
            raise OSError(error.errno, what) from error

    def _open_again(self) -> None:
        """Follow a rotation; when the path cannot be opened, go on with the file that we have."""
        if self._fd == STDOUT:
            return
        try:
            fd = self._open()
        except OSError as error:
            if not self.failing:
                log.warning("%s; writing on to the file that was there before", error.strerror)
            return
        os.close(self._fd)
        self._fd = fd
        self._torn = False

    def __repr__(self) -> str:
        return f"<AccessLog {self._path} {self.written} written, {self.dropped} dropped>"
