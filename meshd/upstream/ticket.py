"""A place in the line of those who wait for a connection."""

from collections import OrderedDict
from typing import Generic, TypeVar

from meshd.core.errors import UpstreamError
from meshd.net import wait
from meshd.upstream.connection import Connection

C = TypeVar("C", bound=Connection)


class Ticket(Generic[C]):
    """Served by a connection or by the permit to dial one; or turned away with an error; or expired.

    Whoever is in the line is in `line`, an ordered dictionary because people leave from the middle of it.
    """

    __slots__ = ("_line", "connection", "deadline", "error", "event", "permit")

    def __init__(self, deadline: float, line: "OrderedDict[Ticket[C], None]") -> None:
        self.deadline = deadline  # monotonic seconds
        self.connection: C | None = None  # leased to us
        self.permit = False  # counted among the live connections already
        self.error: UpstreamError | None = None
        self.event = wait.Event()
        self._line = line

    def serve(self, connection: C) -> None:
        """Hand a leased connection over."""
        self.connection = connection
        self.event.set()

    def admit(self) -> None:
        """Let the waiter dial."""
        self.permit = True
        self.event.set()

    def refuse(self, error: UpstreamError) -> None:
        """Turn the waiter away."""
        self.error = error
        self.event.set()

    def expire(self) -> None:
        """Leave the line, and tell whoever waits; nothing when it was served, turned away or left before."""
        if self in self._line:
            del self._line[self]
            self.event.set()

    def leave(self) -> None:
        """Leave the line without a word: nobody waits any more."""
        self._line.pop(self, None)

    def __repr__(self) -> str:
        state = "in line" if self in self._line else "served" if self.connection is not None else "over"
        return f"<Ticket {state}, until {self.deadline:.3f}>"
