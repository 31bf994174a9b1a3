"""What the processes say to people, on standard error: one line each, with the role of the process that says it."""

import json
import logging
import sys
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")
PLAIN: Final = "%(asctime)s.%(msecs)03d %(levelname)s %(role)s: %(message)s"
DATE: Final = "%Y-%m-%dT%H:%M:%S"


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


ROLE: Final = RoleFilter()


def configure(level: str, *, as_json: bool = False) -> None:
    """Called once, by the first process. `level` is one of LEVELS."""
    line = logging.StreamHandler(sys.stderr)
    line.addFilter(ROLE)
    line.setFormatter(JsonLine() if as_json else logging.Formatter(PLAIN, DATE))
    logging.basicConfig(handlers=[line], level=level.upper(), force=True)


def become(role: str) -> None:
    """From now on this process speaks as `role`."""
    ROLE.role = role


def set_level(level: str) -> None:
    """Say more, or less. Anything but one of LEVELS changes nothing."""
    if level in LEVELS:
        logging.getLogger().setLevel(level.upper())
