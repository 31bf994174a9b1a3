"""One stream of an HTTP/2 session, as the session remembers it."""

from collections.abc import Iterator

from meshd.http.h2_floods import Stall


class Stream:
    """How far both messages have got, and what the peer's body must add up to."""

    __slots__ = (
        "deaf",
        "expected",
        "heard",
        "id",
        "interim",
        "local_ended",
        "method",
        "opened",
        "received",
        "remote_ended",
        "sent",
        "spoken",
        "stall",
    )

    def __init__(self, stream: int, method: bytes, opened: float) -> None:
        self.id = stream
        self.method = method
        self.opened = opened
        self.heard = False  # the peer's head (a client: the final one) has come
        self.spoken = False  # our head (a server: the final one) is out
        self.interim = 0  # interim responses that came
        self.expected: int | None = None  # octets of the peer's body
        self.received = 0
        self.sent = 0
        self.remote_ended = False
        self.local_ended = False
        self.deaf = False  # whatever else comes is thrown away
        self.stall: Stall | None = None  # it has octets to send and no window

    def fits(self, *, end: bool) -> bool:
        """Whether what has come of the body agrees with its content-length."""
        if self.expected is None:
            return True
        return self.received == self.expected if end else self.received <= self.expected

    def __repr__(self) -> str:
        stalled = " stalled" if self.stall is not None else ""
        return f"<Stream {self.id} received {self.received} sent {self.sent}{stalled}>"


class ResetMemory:
    """The ids of the streams that were reset last: frames for them may be under way still, and mean nothing."""

    __slots__ = ("_ids", "_limit")

    def __init__(self, limit: int = 1024) -> None:
        self._ids: dict[int, None] = {}
        self._limit = limit

    def add(self, stream: int) -> None:
        """Remember one, forget the oldest."""
        self._ids[stream] = None
        if len(self._ids) > self._limit:
            del self._ids[next(iter(self._ids))]

    def __contains__(self, stream: int) -> bool:
        return stream in self._ids

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __repr__(self) -> str:
        return f"<ResetMemory {len(self._ids)}>"
