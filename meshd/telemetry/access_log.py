"""The access log's writer: lines go to a file, a FIFO or standard output, and nothing ever waits for them.

Theory of operation: `offer` formats and queues; a thread of its own opens and writes. A reader that is slow, or not
there yet, holds up that thread and nobody else; when the queue is full, lines are dropped and counted. A full disk
loses the lines at hand, is told of once, and is tried again after a pause. Rule 1: the queue is bounded in octets,
because a client decides how long a line is. Rule 2: a file that was renamed or removed under us (log rotation) is
opened anew within a second, or at once by `reopen`; one that cannot be opened leaves us writing where we did, or, where
nothing was open yet, trying again: a folder may be mounted, and a FIFO read, later. Rule 3: a line that broke off
half-way ends before the next one begins.
"""

import logging
import select
import threading
from collections.abc import Iterable, Iterator
from typing import Final

from meshd.core.cells import Key
from meshd.telemetry.access_line import FORMATS
from meshd.telemetry.line_queue import LineQueue
from meshd.telemetry.log_file import LogFile
from meshd.telemetry.record import Record

log = logging.getLogger(__name__)

QUEUE_OCTETS: Final = 4 * 1024 * 1024
PAUSE: Final = 1.0  # seconds between tries after a failed write, and between looks at whether the file was renamed


class AccessLog:
    """The lines of one path, or of standard output for "-"."""

    __slots__ = (
        "_closing",
        "_file",
        "_format",
        "_lost",
        "_queue",
        "_reopen",
        "_thread",
        "_torn",
        "_wake",
        "failing",
        "written",
    )

    def __init__(self, path: str, format_name: str = "json") -> None:
        self._file = LogFile(path)
        self._format = FORMATS[format_name]
        self._queue = LineQueue(QUEUE_OCTETS)
        self._wake = threading.Condition()
        self._closing = False
        self._reopen = True
        self._torn = False
        self._lost = 0  # lines that were at hand when a write failed
        self.written = 0
        self.failing = False
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were given up."""
        return self._queue.dropped + self._lost

    def offer(self, records: Iterable[Record]) -> None:
        """Queue a line for each; never waits."""
        lines = [self._format(record).encode("ascii", "backslashreplace") for record in records]
        with self._wake:
            for line in lines:
                if self._closing:
                    self._lost += 1
                else:
                    self._queue.put(line)
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
        return {"written": self.written, "dropped": self.dropped, "queued_octets": self._queue.queued}

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        closing = False
        while not closing or (self._queue and self._file.outlet is not None):
            with self._wake:
                while not (self._queue or self._closing or self._reopen):
                    self._wake.wait()
                reopen, self._reopen, closing = self._reopen, False, self._closing
            if reopen or self._file.outlet is None or self._file.has_moved():
                self._open()
            if not self._write_next() and not closing:
                with self._wake:
                    self._wake.wait_for(lambda: self._closing or self._reopen, PAUSE)
        self._lost += len(self._queue)
        self._file.close()

    def _open(self) -> None:
        """Follow a rotation; when the path cannot be opened, go on with the file that we have."""
        try:
            self._file.open()
            self._torn = False
        except OSError as error:
            if not self.failing:
                going_on = (
                    "trying again" if self._file.outlet is None else "writing on to the file that was there before"
                )
                log.warning("%s; %s", error.strerror, going_on)
            self.failing = self._file.outlet is None

    def _write_next(self) -> bool:
        """Write the next lines; False when the system would not."""
        if self._file.outlet is None:
            return False
        with self._wake:
            lines = self._queue.take(self._file.size)
        if not lines:
            return True
        rest = memoryview(b"".join([b"\n", *lines] if self._torn else lines))
        held_up = False
        try:
            while rest and not (held_up and self._reopen):
                size = self._write(rest)
                rest, held_up = rest[size:], not size
        except OSError as error:
            if not self.failing:
                log.warning(
                    "the access log %s cannot be written, lines are dropped: %s", self._file.path, error.strerror
                )
            self.failing = True
            if isinstance(error, BrokenPipeError) and self._file.path != "-":
                self._file.close()  # a FIFO whose reader is gone has to be opened anew
        lost = min(len(lines), bytes(rest).count(b"\n"))
        self._lost += lost
        self.written += len(lines) - lost
        if rest:
            return held_up  # by a reader, and the path is to be opened anew: at once
        if self.failing:
            log.warning("the access log %s is written again; %d lines were dropped", self._file.path, self.dropped)
            self.failing = False
        return True

    def _write(self, rest: memoryview) -> int:
        """How much was taken; when it is nothing, after a wait for whoever reads. Raises OSError."""
        outlet = self._file.outlet
        assert outlet is not None
        size = outlet.write(rest)
        if size:
            self._torn = size < len(rest)
        else:
            poll = select.poll()
            poll.register(outlet.fd, select.POLLOUT)
            poll.poll(PAUSE * 1000)
        return size

    def __repr__(self) -> str:
        return f"<AccessLog {self._file.path} {self.written} written, {self.dropped} dropped>"
