"""How much body may flow: windows of streams and of the connection, both ways (RFC 9113 section 5.2)."""

from typing import Final

from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.h2_frames import LARGEST

DEFAULT: Final = 65535  # what every connection begins with
WORTH: Final = 1024  # octets that are given back to a peer who has none left, though it is less than half a window


class Inbound:
    """What the peer may send us. Octets of body are taken when they come, and consumed when somebody has read them."""

    __slots__ = ("_consumed", "_most", "left")

    def __init__(self, most: int) -> None:
        self.left = most
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

    def __repr__(self) -> str:
        return f"<Inbound {self.left} of {self._most}>"


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
