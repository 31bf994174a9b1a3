"""Frames of HTTP/2 as octets: cut out of what came, and put together (RFC 9113 section 4).

A session looks at every frame before its library does, so that floods are counted where the library would buffer or
answer, and frames that would make it give up a whole connection never reach it.
"""

from enum import IntEnum
from typing import Final

from meshd.http.h2_events import Code, ConnectionFailed

HEADER: Final = 9  # octets in front of every payload
MAX_FRAME: Final = 16384  # the largest payload that anybody may send us: the setting is left at its default
LARGEST: Final = 2**31 - 1  # stream id and window
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20


class Kind(IntEnum):
    """The types of frames."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Frame:
    """One frame that came, still as octets."""

    __slots__ = ("flags", "kind", "octets", "stream")

    def __init__(self, octets: bytes) -> None:
        self.kind = octets[3]
        self.flags = octets[4]
        self.stream = int.from_bytes(octets[5:9], "big") & LARGEST
        self.octets = octets

    @property
    def length(self) -> int:
        """Octets of payload."""
        return len(self.octets) - HEADER

    @property
    def payload(self) -> bytes:
        """What follows the frame header, padding included."""
        return self.octets[HEADER:]

    def content(self, skip: int = 0) -> bytes:
        """The payload without padding and without `skip` octets in front of it. Raises ConnectionFailed."""
        octets = self.octets
        if not self.flags & PADDED:
            begin, end = HEADER + skip, len(octets)
        else:
            if len(octets) == HEADER:
                raise ConnectionFailed(Code.FRAME_SIZE_ERROR, "a padded frame without a pad length")
            begin, end = HEADER + 1 + skip, len(octets) - octets[HEADER]
        if end < begin:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "padding or priority longer than its frame")
        return octets[begin:end]

    @property
    def depends_on_itself(self) -> bool:
        """Whether its priority, if it has one, makes the stream its own parent."""
        if self.kind == Kind.HEADERS and not self.flags & PRIORITY_FLAG:
            return False
        place = HEADER + (1 if self.kind == Kind.HEADERS and self.flags & PADDED else 0)
        return int.from_bytes(self.octets[place : place + 4], "big") & LARGEST == self.stream

    def __repr__(self) -> str:
        return f"<Frame {self.kind} flags {self.flags:#x} stream {self.stream} {self.length} octets>"


class HeaderBlock:
    """A header block that has not come in full: the HEADERS frame that began it, and its parts without padding."""

    __slots__ = ("frame", "octets", "parts")

    def __init__(self, frame: Frame, part: bytes) -> None:
        self.frame = frame
        self.parts = [part]
        self.octets = len(part)

    def __repr__(self) -> str:
        return f"<HeaderBlock {self.frame.stream} {len(self.parts)} parts {self.octets} octets>"


class FrameReader:
    """The incoming side: octets in, whole frames out. Holds less than one frame and what came last."""

    __slots__ = ("_buffer", "_offset", "_preface")

    def __init__(self, preface: bytes) -> None:
        self._buffer = b""
        self._offset = 0
        self._preface = preface  # what must still come before the first frame

    def receive(self, data: bytes) -> None:
        """Take what came from the network. Raises ConnectionFailed if it is no HTTP/2."""
        if self._preface:
            size = min(len(self._preface), len(data))
            if data[:size] != self._preface[:size]:
                raise ConnectionFailed(Code.PROTOCOL_ERROR, "no HTTP/2 connection preface")
            self._preface = self._preface[size:]
            data = data[size:]
        self._buffer = self._buffer[self._offset :] + data if self._offset < len(self._buffer) else data
        self._offset = 0

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None before there is one. Raises ConnectionFailed for one that is too large."""
        buffer, offset = self._buffer, self._offset
        if len(buffer) - offset < HEADER:
            return None
        length = int.from_bytes(buffer[offset : offset + 3], "big")
        if length > MAX_FRAME:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"a frame of {length} octets")
        end = offset + HEADER + length
        if end > len(buffer):
            return None
        self._offset = end
        return Frame(buffer[offset:end])

    @property
    def partial(self) -> bool:
        """Whether a frame, or the preface, has come in part."""
        return self._offset < len(self._buffer) or 0 < len(self._preface) < len(PREFACE)

    def __repr__(self) -> str:
        return f"<FrameReader {len(self._buffer) - self._offset} octets waiting>"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """The octets of one frame."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def reset_frame(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream: int, octets: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, octets.to_bytes(4, "big"))


def goaway_frame(last: int, code: int, details: str) -> bytes:
    """GOAWAY, with a reason for people."""
    reason = details.encode("ascii", "replace")[:128]
    return frame(Kind.GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + reason)
