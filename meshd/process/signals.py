"""Signals as numbers to read, for a process without a trio loop: handlers do nothing, the wakeup socket says which."""

import signal
import socket
from typing import Final

HEARD: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)


class Signals:
    """What arrived since the last look."""

    __slots__ = ("_ours", "_theirs")

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    def listen(self) -> None:
        """From now on signals are told here and do nothing else; first those that were held while we started."""
        signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
        for number in HEARD:
            signal.signal(number, _nothing)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

    def take(self) -> list[int]:
        """Every signal that arrived, in order, each kind once."""
        try:
            return list(dict.fromkeys(self._ours.recv(4096)))
        except BlockingIOError:
            return []

    def fileno(self) -> int:
        """For whoever waits on it."""
        return self._ours.fileno()

    def descriptors(self) -> list[int]:
        """Both ends."""
        return [self._ours.fileno(), self._theirs.fileno()]

    def close(self) -> None:
        """Give the descriptors back."""
        signal.set_wakeup_fd(-1)
        self._ours.close()
        self._theirs.close()


def _nothing(_number: int, _frame: object) -> None:
    return
