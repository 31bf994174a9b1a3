"""Log lines on their way to standard error: nobody waits for whoever reads them.

Theory of operation: a line is queued, and the queue is written when the kernel has room, several lines in one system
call but never more than a pipe takes whole, so that the lines of processes which share one do not mix. The supervisor
forks, so it has no threads: it writes what is taken at once, and its loop tries the rest when there is room again
(`waits_for`). Every other process has a thread for it, begun with its first line, because a stalled disk holds even a
non-blocking writer up. What does not fit is dropped, counted, and told of in one line as soon as lines are taken again.

Rule 1: a child begins with an empty queue and a lock of its own; what waited belongs to its parent. Rule 2: an error
(a full disk, a reader that is gone) keeps what waits and is tried again after a pause. Rule 3: the end waits a moment
for whoever reads, and no longer.
"""

import select
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from meshd.telemetry.line_queue import LineQueue
from meshd.telemetry.outlet import PIPE_BUF, Outlet

BOUND: Final = 256 * 1024  # bytes that may wait
PAUSE: Final = 0.25  # seconds between two tries
LAST_LINES: Final = 0.1  # seconds that the end waits for them to be taken

Gap: TypeAlias = Callable[[int], bytes]  # the line that says how many were dropped


class LogWriter:
    """One process's lines."""

    __slots__ = ("_closing", "_error", "_gap", "_lock", "_outlet", "_queue", "_rest", "_said", "_thread", "_threaded")

    def __init__(self, outlet: Outlet, gap: Gap) -> None:
        self._outlet = outlet
        self._gap = gap
        self._begin(threaded=False)

    def _begin(self, *, threaded: bool) -> None:
        self._queue = LineQueue(BOUND)
        self._said = 0  # of the dropped lines, how many were told of
        self._rest = b""  # of lines that were written in part
        self._error = False  # the last write failed, other than for want of room
        self._lock = threading.Condition()
        self._threaded = threaded
        self._thread: threading.Thread | None = None
        self._closing = False

    def begin_in_child(self) -> None:
        """After a fork: this process's lines from now on, by a thread."""
        self._begin(threaded=True)

    @property
    def dropped(self) -> int:
        """Lines that were given up in this process."""
        return self._queue.dropped

    @property
    def is_idle(self) -> bool:
        """Whether everything was written."""
        return not self._queue and not self._rest

    @property
    def waits_for(self) -> int | None:
        """The descriptor whose room is waited for; None when nothing waits, or an error has to pass first."""
        return self._outlet.fd if self._rest and not self._threaded and not self._error else None

    def put(self, line: bytes) -> None:
        """Write a line soon; never waits."""
        with self._lock:
            self._queue.put(line)
            if self._threaded:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                    self._thread.start()
                self._lock.notify()
                return
        self.pump()

    def pump(self) -> None:
        """Write what is taken at once. For a process without the thread; does nothing in others."""
        while not self._threaded and (self._rest or self._next()) and self._write():
            pass

    def close(self, timeout: float = LAST_LINES) -> None:
        """Have what waits written, for at most so many seconds."""
        if self._thread is not None:
            with self._lock:
                self._closing = True
                self._lock.notify()
            self._thread.join(timeout)
            if not self._thread.is_alive():
                self._thread, self._threaded = None, False  # what comes yet is written at once
        elif not self._threaded:
            tries = 10
            while self._rest and not self._error and tries:
                tries -= 1
                self._wait_for_room(timeout / 10)
                self.pump()

    def _next(self) -> bool:
        """Take the next lines up; False when there are none. The lock is held, if anybody shares it."""
        self._rest = b"".join(self._queue.take(PIPE_BUF))
        if not self._rest and self._queue.dropped > self._said:
            count, self._said = self._queue.dropped - self._said, self._queue.dropped
            self._rest = self._gap(count)
        return bool(self._rest)

    def _write(self) -> bool:
        """Write more of what was taken up; False when the kernel would not take it now."""
        try:
            size = self._outlet.write(self._rest)
        except OSError:
            self._error = True
            return False
        self._error = False
        self._rest = self._rest[size:]
        return size > 0

    def _run(self) -> None:
        while True:
            with self._lock:
                while not (self._rest or self._next() or self._closing):
                    self._lock.wait()
            if not self._rest:
                return
            if self._write():
                continue
            if self._error:
                time.sleep(PAUSE)
            else:
                self._wait_for_room(PAUSE)

    def _wait_for_room(self, timeout: float) -> None:
        poll = select.poll()
        poll.register(self._outlet.fd, select.POLLOUT)
        if poll.poll(timeout * 1000) and self._outlet.asks:
            time.sleep(timeout / 10)  # there may be less room than it says

    def statistics(self) -> dict[str, int]:
        """What waits, and what was given up."""
        return self._queue.statistics()

    def __repr__(self) -> str:
        return f"<LogWriter {self._queue!r}{', by a thread' if self._threaded else ''}>"
