"""A client that speaks HTTP/2 as raw octets, and reads frames without trusting whoever sent them."""

from hpack import Decoder
from support.http2 import frames
from support.wire import RawClient

from meshd.http.h2_frames import END_STREAM, Kind

HEADER = 9


class H2RawClient(RawClient):
    """One TCP connection; `send` whole or in pieces. What came is read frame by frame."""

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """The whole frames so far: kind, flags, stream, payload."""
        octets, end = self.received, 0
        while end + HEADER <= len(octets):
            size = HEADER + int.from_bytes(octets[end : end + 3], "big")
            if end + size > len(octets):
                break
            end += size
        return frames(octets[:end])

    def goaway(self) -> tuple[int, str] | None:
        """The code and the text of the last GOAWAY that ends the connection."""
        said = [payload for kind, _, _, payload in self.frames() if kind == Kind.GOAWAY]
        return (int.from_bytes(said[-1][4:8], "big"), said[-1][8:].decode("latin-1")) if said else None

    def reset_code(self, stream: int) -> int | None:
        """Why the peer reset a stream; None when it has not."""
        said = [payload for kind, _, at, payload in self.frames() if kind == Kind.RST_STREAM and at == stream]
        return int.from_bytes(said[0], "big") if said else None

    def answers(self) -> dict[int, tuple[int, bytes, bool]]:
        """The final responses so far by stream: status, body, whether it is whole."""
        decoder = Decoder()
        found: dict[int, tuple[int, bytes, bool]] = {}
        for kind, flags, stream, payload in self.frames():
            whole = bool(flags & END_STREAM)
            if kind == Kind.HEADERS:
                fields = dict(decoder.decode(payload, raw=True))
                if b":status" not in fields:  # trailers
                    found[stream] = (*found[stream][:2], whole)
                elif not fields[b":status"].startswith(b"1"):
                    found[stream] = (int(fields[b":status"]), b"", whole)
            elif kind == Kind.DATA:
                status, body, _ = found[stream]
                found[stream] = (status, body + payload, whole)
        return found

    def is_over(self, stream: int) -> bool:
        """Whether nothing more will come on a stream."""
        if self.closed or self.goaway() is not None or self.reset_code(stream) is not None:
            return True
        return stream in (answers := self.answers()) and answers[stream][2]
