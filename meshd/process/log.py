"""What the processes say to people, on standard error: one line each, with the role of the process that says it.

Theory of operation: a record is judged (`telemetry/coalesce.py`: many that are alike become one line with their
number), made a line, and queued (`log_writer.py`); none of it waits. A caller that logs because of a peer says with
`extra={"kind": ...}` what tells its lines apart, such as the peer's network and the reason, so that one peer does not
hide what another does; and with `who` as well, the peer itself, of which one line is written when its network has had
its share. Everything else that Python writes to standard error (a traceback, a warning, a print) takes
the same way once `take_standard_error` was called, for a full pipe would hold that up too.
"""

import io
import json
import logging
import sys
from typing import Final

from meshd.core.log_levels import LEVELS
from meshd.process.clock import monotonic
from meshd.process.log_writer import LogWriter
from meshd.telemetry.coalesce import BURST, SAME, Coalescer, Key
from meshd.telemetry.outlet import Outlet

STDERR: Final = 2
PLAIN: Final = "%(asctime)s.%(msecs)03d %(levelname)s %(role)s: %(message)s"
DATE: Final = "%Y-%m-%dT%H:%M:%S"
OURS: Final = "meshd"  # loggers of this package


class RoleFilter(logging.Filter):
    """Adds the role of this process to every line. A child says its own after the fork."""

    def __init__(self) -> None:
        super().__init__()
        self.role = "supervisor"

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drops anything."""
        record.role = self.role
        return True


class JsonLine(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in seconds since the epoch, level, role, logger, message, and the traceback if there is one."""
        line: dict[str, str | float] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "role": ROLE.role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class LineHandler(logging.Handler):
    """From a record to a line in the queue, or to one more that is counted."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self.writer = LogWriter(outlet, self._gap)
        self.coalescer = Coalescer()
        self.addFilter(ROLE)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it among those that are like it."""
        try:
            now = monotonic()
            self.say_due(now)
            key, burst = key_of(record)
            if self.coalescer.admit(key, now, burst, str(record.__dict__.get("who", ""))):
                self._put(record)
            else:
                self.coalescer.hold(key, record.levelno, record.getMessage())
        except Exception:  # noqa: BLE001  # a record that cannot be formatted: said on standard error, as logging does
            self.handleError(record)

    def say_due(self, now: float, *, force: bool = False) -> None:
        """Say how many lines were counted instead of written, wherever their window is over."""
        self.acquire()
        try:
            for summary in self.coalescer.due(now, force=force):
                self._put(_record(summary.level, str(summary)))
        finally:
            self.release()

    def begin_in_child(self) -> None:
        """After a fork: nothing that waited or was counted is ours."""
        self.coalescer = Coalescer()
        self.writer.begin_in_child()

    def close(self) -> None:
        """Say what was counted, and give what waits a moment. Said again, there is nothing left."""
        self.say_due(0.0, force=True)
        self.writer.close()
        super().close()

    def _put(self, record: logging.LogRecord) -> None:
        ROLE.filter(record)
        self.writer.put(self.format(record).encode("utf-8", "backslashreplace") + b"\n")

    def _gap(self, count: int) -> bytes:
        record = _record(logging.WARNING, f"{count} log lines were dropped: standard error was not read")
        ROLE.filter(record)
        return self.format(record).encode() + b"\n"


class StandardError(io.TextIOBase):
    """`sys.stderr` of a process that must not wait: whole lines go into the queue."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self._begun = ""

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The descriptor that lines end up at."""
        return STDERR

    def write(self, text: str) -> int:
        """Queue the lines that are whole."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._put(line)
        return len(text)

    def flush(self) -> None:
        """Queue what has no newline yet as a line of its own."""
        if self._begun:
            line, self._begun = self._begun, ""
            self._put(line)

    def _put(self, line: str) -> None:
        self._writer.put(line.encode("utf-8", "backslashreplace") + b"\n")


ROLE: Final = RoleFilter()
_handlers: Final[list[LineHandler]] = []  # the one of this process, once it is configured


def key_of(record: logging.LogRecord) -> tuple[Key, int]:
    """What makes lines alike, and how many of those are written at a time: what was said, or where it is known that
    somebody outside causes it (our caller says so; of other packages nobody knows) the template and the kind of it."""
    kind = record.__dict__.get("kind")
    if kind is None and record.name.startswith(OURS):
        return (record.getMessage(), ""), SAME
    return (str(record.msg), str(kind or "")), BURST


def configure(level: str, *, as_json: bool = False) -> None:
    """Called once, by the first process. `level` is one of LEVELS."""
    handler = LineHandler(Outlet.of_standard(STDERR))
    handler.setFormatter(JsonLine() if as_json else logging.Formatter(PLAIN, DATE))
    _handlers[:] = [handler]
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def take_standard_error() -> None:
    """From now on whatever this process and its children write to `sys.stderr` waits for nobody either."""
    sys.stderr = StandardError(_handlers[0].writer)


def become(role: str) -> None:
    """From now on this process, a child, speaks as `role`."""
    ROLE.role = role
    for handler in _handlers:
        handler.begin_in_child()


def set_level(level: str) -> None:
    """Say more, or less. Anything but one of LEVELS changes nothing."""
    if level in LEVELS:
        logging.getLogger().setLevel(level.upper())


def look_after(now: float) -> None:
    """To be called a few times a second: says what was counted, and tries again what could not be written."""
    for handler in _handlers:
        handler.say_due(now)
        handler.writer.pump()


def waits_for() -> int | None:
    """The descriptor whose room this process waits for to write what it has to say; None for none."""
    return _handlers[0].writer.waits_for if _handlers else None


def close() -> None:
    """Say the last words; waits a moment at most. What is logged later is written as ever."""
    sys.stderr.flush()
    for handler in _handlers:
        handler.close()


def counts() -> tuple[int, int]:
    """Lines that were dropped, and lines that were counted instead of written, by this process so far."""
    if not _handlers:
        return 0, 0
    return _handlers[0].writer.dropped, _handlers[0].coalescer.coalesced


def _record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("meshd.log", level, __file__, 0, text, None, None)
