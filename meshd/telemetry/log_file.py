"""The file that a path names, as whoever rotates logs would have it: opened anew when it was renamed or removed.

It may be a FIFO, which can only be opened while somebody reads it, and which is never waited for; "-" is standard
output, which is not ours to close or to open anew.
"""

import errno
import os
import stat
from typing import Final

from meshd.telemetry.outlet import PIPE_BUF, Outlet

FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
MODE: Final = 0o640
WRITE_SIZE: Final = 64 * 1024  # bytes in one system call
STDOUT: Final = 1


class LogFile:
    """One path. Not open to begin with."""

    __slots__ = ("outlet", "path", "size")

    def __init__(self, path: str) -> None:
        self.path = path
        self.outlet: Outlet | None = None
        self.size = WRITE_SIZE  # bytes to write at once: as many as a pipe takes whole, where it is one

    def open(self) -> None:
        """Open the path, in the place of what is open. Raises OSError with what is wrong, and nothing has changed."""
        if self.path == "-":
            outlet = self.outlet or Outlet.of_standard(STDOUT)
        else:
            try:
                outlet = Outlet(os.open(self.path, FLAGS, MODE), owned=True)
            except OSError as error:
                cause = "nobody reads the FIFO" if error.errno == errno.ENXIO else error.strerror
                raise OSError(error.errno, f"cannot open the access log {self.path}: {cause}") from error
        if outlet is not self.outlet:
            self.close()
        self.outlet = outlet
        self.size = PIPE_BUF if stat.S_ISFIFO(os.fstat(outlet.fd).st_mode) else WRITE_SIZE

    def has_moved(self) -> bool:
        """Whether the path names another file by now, or none."""
        if self.outlet is None or self.path == "-":
            return False
        try:
            there, here = os.stat(self.path), os.fstat(self.outlet.fd)
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def close(self) -> None:
        """Close what is open, unless it is standard output."""
        if self.outlet is not None:
            self.outlet.close()
            self.outlet = None

    def __repr__(self) -> str:
        return f"<LogFile {self.path}{'' if self.outlet is None else ' open'}>"
