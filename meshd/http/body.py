"""Reading one message body out of a buffer, whichever way it is framed."""

from enum import Enum, auto

from meshd.core import proxy_errors
from meshd.core.errors import ProtocolError
from meshd.http.chunked import ChunkedBody
from meshd.http.events import END, End


class Shape(Enum):
    """Where a codec stands in the message it reads."""

    HEAD = auto()
    EMPTY = auto()  # no body; the end has not been told yet
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()
    DONE = auto()
    TUNNEL = auto()


class BodyReader:
    """The incoming side of a codec: a buffer, and how far the message in it has been read."""

    __slots__ = ("_chunked", "_left", "buffer", "eof", "shape")

    def __init__(self) -> None:
        self.buffer = b""
        self.eof = False
        self.shape = Shape.HEAD
        self._left = 0
        self._chunked: ChunkedBody | None = None

    def receive(self, data: bytes) -> None:
        """Take what came from the network; empty bytes are its end."""
        if data:
            self.buffer = self.buffer + data if self.buffer else data
        else:
            self.eof = True

    def expect(self, length: int | None, *, chunked: bool, bodiless: bool = False) -> None:
        """A head was read: this is how its body is framed."""
        if chunked and not bodiless:
            self.shape = Shape.CHUNKED
            self._chunked = ChunkedBody()
        elif bodiless or length == 0:
            self.shape = Shape.EMPTY
        elif length is None:
            self.shape = Shape.UNTIL_CLOSE
        else:
            self.shape = Shape.LENGTH
            self._left = length

    def next_piece(self) -> bytes | End | None:
        """The next piece of the body, its end once, then and before there is more None. Raises ProtocolError."""
        shape, buffer = self.shape, self.buffer
        if shape is Shape.LENGTH:
            if self._left == 0:
                self.shape = Shape.DONE
                return END
            if not buffer:
                self._check_end("content-length")
                return None
            if len(buffer) <= self._left:
                self._left -= len(buffer)
                self.buffer = b""
                return buffer
            piece, self.buffer = buffer[: self._left], buffer[self._left :]
            self._left = 0
            return piece
        if shape is Shape.EMPTY:
            self.shape = Shape.DONE
            return END
        if shape is Shape.CHUNKED:
            return self._next_chunk(buffer)
        if shape is Shape.UNTIL_CLOSE:
            if buffer:
                self.buffer = b""
                return buffer
            if self.eof:
                self.shape = Shape.DONE
                return END
        return None

    def take_ready(self) -> tuple[bytes, End | None]:
        """All of the body that is here, and its end if that is here too; as pieces would give it, in one go."""
        buffer = self.buffer
        if self.shape is Shape.LENGTH and len(buffer) == self._left:  # the usual one: exactly this message
            self.buffer = b""
            self.shape = Shape.DONE
            return buffer, END
        pieces: list[bytes] = []
        while (piece := self.next_piece()) is not None:
            if isinstance(piece, End):
                return b"".join(pieces), piece
            pieces.append(piece)
        return b"".join(pieces), None

    def _next_chunk(self, buffer: bytes) -> bytes | End | None:
        assert self._chunked is not None
        piece, self.buffer = self._chunked.take(buffer)
        if piece is None:
            self._check_end("chunked")
            return None
        if isinstance(piece, End):
            self.shape = Shape.DONE
        return piece

    def _check_end(self, how: str) -> None:
        if self.eof:
            kind = proxy_errors.HTTP_RESPONSE_INCOMPLETE
            raise ProtocolError(400, f"the connection ended within a {how} body", proxy_error=kind)
