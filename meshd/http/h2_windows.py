"""How much body may flow: windows of streams and of the connection, both ways (RFC 9113 section 5.2).

A window is what a peer may have on its way to us in one round trip, so one that never grows is a limit of speed.
Rule 1: a stream's window doubles when `TURNS` halves of it in a row were each read within `FAST`: not for whoever reads
slowly, whose octets would only wait here, nor for what the next buffers on the way swallow at first. Rule 2: what all
streams of a connection have grown by is bounded, and so is what all connections of a worker have; it is given back when
a stream is over.
"""

from typing import Final

from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.h2_frames import LARGEST

DEFAULT: Final = 65535  # what every connection begins with
MOST: Final = 1 << 20  # octets that the window of one stream grows to
GROWTH: Final = 4 << 20  # octets that all of a connection's grow by
FAST: Final = 0.25  # seconds
TURNS: Final = 8
WORTH: Final = 1024  # octets that are given back to a peer who has none left, though it is less than half a window


class Inbound:
    """What the peer may send us. Octets of body are taken when they come, and consumed when somebody has read them."""

    __slots__ = ("_consumed", "_fast", "_most", "_turned", "grown", "left")

    def __init__(self, most: int) -> None:
        self.left = most
        self.grown = 0
        self._turned = 0.0  # when some of it was given back last; 0 for never
        self._fast = 0  # so often in a row soon after the time before
        self._most = most
        self._consumed = 0

    def take(self, octets: int) -> bool:
        """So much has come; False when that is more than was allowed."""
        self.left -= octets
        return self.left >= 0

    def consume(self, octets: int) -> int:
        """So much has been read; what to give back to the peer now, in pieces that are worth a frame, or 0."""
        consumed = self._consumed + octets
        if consumed >= self._most >> 1 or (self.left == 0 and consumed > WORTH):
            self._consumed = 0
            self.left += consumed
            return consumed
        self._consumed = consumed
        return 0

    def grow(self, room: int, now: float) -> int:
        """Some of it is being given back: what else to give, at most `room`, because it was read so fast."""
        is_fast = self._turned > 0 and now - self._turned < FAST
        self._turned = now
        self._fast = self._fast + 1 if is_fast else 0
        extra = min(self._most, MOST - self._most, room)
        if self._fast < TURNS or extra < WORTH:
            return 0
        self._fast = 0
        self.grown += extra
        self._most += extra
        self.left += extra
        return extra

    def __repr__(self) -> str:
        return f"<Inbound {self.left} of {self._most}>"


class Allowance:
    """What windows may have grown by, all together."""

    __slots__ = ("left",)

    def __init__(self, octets: int) -> None:
        self.left = octets

    def __repr__(self) -> str:
        return f"<Allowance {self.left}>"


ALLOWANCE: Final = Allowance(64 << 20)  # of one worker


class Outbound:
    """What we may send on a connection; each stream has such a number of its own, which settings may make negative."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = DEFAULT

    def widen(self, octets: int) -> None:
        """The peer takes so much more. Raises ConnectionFailed for more than there can be."""
        self.left += octets
        if self.left > LARGEST:
            raise ConnectionFailed(Code.FLOW_CONTROL_ERROR, "a window beyond all bounds")

    def __repr__(self) -> str:
        return f"<Outbound {self.left}>"
