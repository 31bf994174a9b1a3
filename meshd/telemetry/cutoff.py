"""An end to what a thread does with another host, whatever that host does: a time limit on the whole of it.

A time-out of a socket is one of each read, so a host that sends an octet now and then holds a thread for ever, and with
it whatever waits for the thread. At its moment a cutoff shuts the connection's socket down, which ends every read.
"""

import os
import socket
import threading
from types import TracebackType
from typing import Self


class Cutoff:
    """A context: what is watched ends so many seconds after it was entered, unless it was left before."""

    __slots__ = ("_copies", "_lock", "_timer", "is_cut")

    def __init__(self, seconds: float) -> None:
        self.is_cut = False
        self._copies: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def watch(self, sock: socket.socket) -> None:
        """End this connection too. It may be one of TLS, or become one: a duplicate of what is below is kept."""
        with self._lock:
            copy = socket.socket(fileno=os.dup(sock.fileno()))
            self._copies.append(copy)
            if self.is_cut:
                _shut(copy)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for copy in self._copies:
                copy.close()
            self._copies.clear()

    def _cut(self) -> None:
        with self._lock:
            self.is_cut = True
            for copy in self._copies:
                _shut(copy)

    def __repr__(self) -> str:
        return f"<Cutoff of {len(self._copies)} connections{', cut' if self.is_cut else ''}>"


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already
