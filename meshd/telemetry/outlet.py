"""A descriptor that lines are written to without ever waiting for whoever reads them.

Theory of operation: O_NONBLOCK belongs to the open file, which standard error shares with our parent, our children and
the app of `meshd run -- command`; setting it there would break programs that expect to wait. So a pipe or a terminal is
opened anew through /proc/self/fd, which gives an open file of our own. A socket (journald's) takes MSG_DONTWAIT with
each write. A regular file is used as it is: opening it anew would lose the write position that others share, and the
kernel never makes a writer wait for a reader there.

Rule 1: what can be neither opened anew nor sent to (a terminal of another user) is asked with poll(2) before each write
of at most `PIPE_BUF` bytes. Rule 2: an error is the caller's business; the next write tries again.
"""

import os
import select
import socket
import stat
from typing import Final

PIPE_BUF: Final = select.PIPE_BUF  # bytes that a pipe takes whole or not at all, so that lines of processes never mix
FLAGS: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Outlet:
    """One descriptor. `write` takes what the kernel takes at once."""

    __slots__ = ("_own", "_sock", "asks", "fd")

    def __init__(self, fd: int, *, owned: bool) -> None:
        """`fd` is non-blocking already, or cannot block, or is asked first; `owned` says that `close` closes it."""
        self.fd = fd
        self._own = owned
        self._sock: socket.socket | None = None
        self.asks = False  # for room, before each write

    @classmethod
    def of_standard(cls, fd: int) -> "Outlet":
        """For a descriptor that others share, such as standard error: it stays as it is."""
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            return cls(fd, owned=False)  # closed: every write is an error
        if stat.S_ISSOCK(mode):
            return cls._of_socket(fd)
        if not stat.S_ISFIFO(mode) and not os.isatty(fd):
            return cls(fd, owned=False)
        try:
            return cls(os.open(f"/proc/self/fd/{fd}", FLAGS), owned=True)
        except OSError:
            found = cls(fd, owned=False)
            found.asks = True
            return found

    @classmethod
    def _of_socket(cls, fd: int) -> "Outlet":
        found = cls(fd, owned=False)
        copy = os.dup(fd)
        try:
            found._sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            found.asks = True
        return found

    def write(self, data: bytes | memoryview) -> int:
        """How many bytes were taken; 0 when there is no room. Raises OSError."""
        try:
            if self._sock is not None:
                return self._sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            if self.asks:
                if not self._has_room():
                    return 0
                return os.write(self.fd, data[:PIPE_BUF])
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Give back what is ours; the standard descriptor stays open."""
        if self._sock is not None:
            self._sock.close()
        elif self._own:
            os.close(self.fd)

    def __repr__(self) -> str:
        return f"<Outlet fd {self.fd}{' asks first' if self.asks else ''}>"
