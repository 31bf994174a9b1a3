"""How many idle connections may be kept to a server that perhaps serves one connection at a time.

Theory of operation: such a server (Python's wsgiref and http.server, a sync worker of gunicorn) reads from one
connection until that ends. An idle connection of ours, kept for later, freezes it for everybody else: its probes, its
direct clients, our own next connection. Whether a server is one of those nobody tells; but one that has answered on n
connections while all n were open serves at least n at a time. So n - 1 idle ones leave it room for somebody else, and
no more than that are kept for long.

Rule 1: what is evident is forgotten with the connections that showed it. Rule 2: one connection more is kept *on
trial*, for a moment. It is not used: whoever comes meanwhile dials, and if that is answered while the other is still
open, one more is evident. So two requests in quick succession are all that a server which serves many has to be asked.
Rule 3: when somebody dialled during a trial and was not answered, the next trial is a while off, and every connection
beyond what is evident ends with its exchange.

Pure: time is an argument.
"""

from typing import Final

TRIAL: Final = 0.05  # seconds: the longest that anybody waits because of us
PAUSE: Final = 1.0  # seconds before the next trial, doubling
PAUSE_MAX: Final = 300.0


class KeepAlive:
    """What one server has shown."""

    __slots__ = ("_floor", "_next", "_pause", "evident")

    def __init__(self, floor: int) -> None:
        self.evident = 1  # connections that it serves at the same time
        self._floor = floor  # idle ones that are kept in any case, because somebody said so
        self._pause = PAUSE
        self._next = 0.0

    @property
    def room(self) -> int:
        """Idle connections that may be kept for long."""
        return max(self.evident - 1, self._floor)

    def saw(self, together: int) -> None:
        """It has answered on so many connections, all of them open now."""
        if together > self.evident:
            self.evident = together
            self._pause = PAUSE
            self._next = 0.0

    def lost(self, left: int) -> None:
        """A connection ended; so many are left."""
        self.evident = max(1, min(self.evident, left + 1))

    def may_try(self, now: float) -> bool:
        """Whether one more may be kept on trial."""
        return now >= self._next

    def failed(self, now: float) -> None:
        """Somebody waited during a trial."""
        self._next = now + self._pause
        self._pause = min(2 * self._pause, PAUSE_MAX)

    def __repr__(self) -> str:
        return f"<KeepAlive {self.evident} at a time, {self.room} idle kept>"
