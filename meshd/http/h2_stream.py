"""One stream of an HTTP/2 session, as the session remembers it."""

from enum import Enum, auto

from meshd.http.h2_floods import Stall
from meshd.http.h2_windows import Inbound


class Stream:
    """How far both messages have got, and what the peer's body must add up to."""

    __slots__ = (
        "deaf",
        "expected",
        "heard",
        "id",
        "inbound",
        "interim",
        "local_ended",
        "method",
        "opened",
        "outbound",
        "received",
        "remote_ended",
        "sent",
        "spoken",
        "stall",
    )

    def __init__(self, stream: int, method: bytes, opened: float, outbound: int) -> None:
        self.id = stream
        self.outbound = outbound  # octets of body that the peer takes; settings may make it negative
        self.inbound: Inbound | None = None  # made with the first octet that comes
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


class Departure(Enum):
    """How a stream ended."""

    WHOLE = auto()
    RESET_BY_US = auto()  # frames that were under way when we reset it mean nothing
    RESET_BY_PEER = auto()


class Departures:
    """How the last streams ended, for what may still come on them.

    Of those that were reset it remembers more, for a whole round trip of frames may be under way then; of the others,
    only what tells a mistake of the peer by its name.
    """

    __slots__ = ("_resets", "_whole")

    def __init__(self, resets: int = 1024, whole: int = 64) -> None:
        self._resets = _Recent(resets)
        self._whole = _Recent(whole)

    def add(self, stream: int, how: Departure) -> None:
        """Remember one."""
        (self._whole if how is Departure.WHOLE else self._resets).add(stream, how)

    def find(self, stream: int) -> Departure | None:
        """How that stream ended; None for one that never was, or is forgotten."""
        return self._whole.find(stream) or self._resets.find(stream)

    def __repr__(self) -> str:
        return f"<Departures {len(self._whole)} whole {len(self._resets)} reset>"


class _Recent:
    """The last `limit` at least, twice that at most; forgetting half at a time costs nothing each time."""

    __slots__ = ("_limit", "_older", "_younger")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._older: dict[int, Departure] = {}
        self._younger: dict[int, Departure] = {}

    def add(self, stream: int, how: Departure) -> None:
        if len(self._younger) >= self._limit:
            self._older, self._younger = self._younger, {}
        self._younger[stream] = how

    def find(self, stream: int) -> Departure | None:
        return self._younger.get(stream) or self._older.get(stream)

    def __len__(self) -> int:
        return len(self._older) + len(self._younger)
