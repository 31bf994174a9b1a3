"""A stream of HTTP/2 as a `Stream` of bytes: what is left of HTTP after an extended CONNECT (RFC 8441)."""

from meshd.http.h2_events import Code
from meshd.upstream.lane import Lane


class LaneStream:
    """Its octets; the socket is shared with other streams."""

    __slots__ = ("_lane", "alert", "fd", "quick_ack")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.fd = -1  # none of its own
        self.quick_ack = False
        self.alert = ""  # that is the connection's

    async def receive(self) -> bytes:
        """Wait for octets; empty at the peer's orderly end."""
        item = await self._lane.next()
        return item if isinstance(item, bytes) else b""

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Write everything."""
        await self._lane.send(bytes(data))

    async def send_eof(self) -> None:
        """End our side of the stream."""
        self._lane.finish([])

    def acknowledge(self) -> None:
        """Nothing: that is for who reads the connection."""

    def is_gone(self) -> bool:
        """Whether the stream is over."""
        return self._lane.broken is not None

    def has_left(self) -> bool:
        """Whether the stream is over."""
        return self._lane.broken is not None

    def has_news(self) -> bool:
        """Whether the stream is over; what came waits in no kernel."""
        return self._lane.broken is not None

    def is_stale(self) -> bool:
        """Never pooled."""
        return True

    def is_quiet(self) -> bool:
        """Never pooled."""
        return False

    def close(self) -> None:
        """Give it up."""
        self._lane.reset(Code.CANCEL, "closed")

    def interrupt(self, reason: str) -> None:
        """Wake whoever waits on it."""
        self._lane.reset(Code.CANCEL, reason)

    def abort(self, reason: str) -> None:
        """Give it up and wake whoever waits on it."""
        self._lane.reset(Code.CANCEL, reason)

    def __repr__(self) -> str:
        return f"<LaneStream {self._lane!r}>"
