"""Giving freed memory back to the system.

The C library keeps what is freed for later, and what is free in the middle of its heap it never returns by itself:
after a crowd of handshakes a worker would stay as large as it was then. `malloc_trim` returns whole pages that are
free, wherever they are; it takes some milliseconds, holding the heap's lock, so it is done seldom: once a crowd has
left.
"""

import ctypes
from typing import Final

CROWD: Final = 128  # connections fewer than there were, from which on it is worth while
PAUSE: Final = 2.0  # seconds between two times

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others give memory back by themselves, or cannot


class Heap:
    """One worker's, as far as connections fill it."""

    __slots__ = ("_peak", "_rest_until", "trimmed")

    def __init__(self) -> None:
        self._peak = 0
        self._rest_until = 0.0
        self.trimmed = 0  # how often

    def look(self, connections: int, now: float) -> None:
        """To be called now and then with how many connections there are."""
        if connections > self._peak:
            self._peak = connections
        elif self._peak - connections >= CROWD and now >= self._rest_until:
            self._peak = connections
            self._rest_until = now + PAUSE
            self.trimmed += 1
            if _trim is not None:
                _trim(0)

    def __repr__(self) -> str:
        return f"<Heap of {self._peak} connections, trimmed {self.trimmed} times>"
