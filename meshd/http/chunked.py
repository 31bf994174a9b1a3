"""The chunked coding, read strictly: CRLF only, sizes in plain hex, everything bounded (RFC 9112 section 7.1)."""

import re
from typing import Final

from meshd.core import proxy_errors
from meshd.core.errors import ProtocolError
from meshd.core.head import Headers
from meshd.http.events import END, End
from meshd.http.fields import check_octets, check_partial, read_fields
from meshd.http.framing import allowed_trailers

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + b"|" + _QUOTED + rb"))?)*)"
)
MAX_LINE = 1024  # octets of a size line, extensions included
MAX_EXTENSIONS = 16384  # octets of extensions in one body
MAX_TRAILERS = 16384
MAX_TRAILER_FIELDS = 100
MAX_SIZE = 2**63 - 1

_CODING: Final = proxy_errors.HTTP_RESPONSE_TRANSFER_CODING
_TRAILERS: Final = proxy_errors.HTTP_RESPONSE_TRAILER_SECTION_SIZE


class ChunkedBody:
    """The decoder of one body: `take` pieces of it out of a buffer."""

    __slots__ = ("_extensions", "_left", "_trailers")

    def __init__(self) -> None:
        self._left = -1  # octets of the chunk still to come; -1 before a size line, 0 before the CRLF behind a chunk
        self._trailers = False
        self._extensions = 0

    def take(self, buffer: bytes) -> tuple[bytes | End | None, bytes]:
        """The next piece, the end, or None for "need more"; and what is left of the buffer. Raises ProtocolError."""
        while True:
            if self._trailers:
                return self._take_trailers(buffer)
            if self._left > 0:
                if not buffer:
                    return None, buffer
                piece = buffer[: self._left]
                self._left -= len(piece)
                return piece, buffer[len(piece) :]
            if self._left == 0:
                if not b"\r\n".startswith(buffer[:2]):
                    raise ProtocolError(400, "no CRLF behind a chunk", proxy_error=_CODING)
                if len(buffer) < 2:
                    return None, buffer
                buffer = buffer[2:]
                self._left = -1
            line_end = buffer.find(b"\r\n")
            if line_end < 0:
                self._check_partial(buffer)
                return None, buffer
            self._read_size(buffer[:line_end])
            buffer = buffer[line_end + 2 :]

    def _read_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line) if len(line) <= MAX_LINE else None
        if match is None:
            raise ProtocolError(400, "a malformed chunk size", proxy_error=_CODING)
        size = int(match[1], 16)
        self._extensions += len(match[2])
        if size > MAX_SIZE or self._extensions > MAX_EXTENSIONS:
            raise ProtocolError(400, "a chunk size or its extensions out of range", proxy_error=_CODING)
        if size:
            self._left = size
        else:
            self._trailers = True

    @staticmethod
    def _check_partial(line: bytes) -> None:
        if len(line) > MAX_LINE + 1:  # one more: the CR may be here already
            raise ProtocolError(400, "a chunk size line without end", proxy_error=_CODING)
        check_partial(line)
        digits = line.rstrip(b"\r").partition(b";")[0].rstrip(b" \t")
        if digits and (len(digits) > 16 or not _HEX.fullmatch(digits)):
            raise ProtocolError(400, "a malformed chunk size", proxy_error=_CODING)

    def _take_trailers(self, buffer: bytes) -> tuple[End | None, bytes]:
        if buffer.startswith(b"\r\n"):
            return END, buffer[2:]
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_TRAILERS + 1:
                raise ProtocolError(431, "trailers too large", proxy_error=_TRAILERS)
            check_partial(buffer)
            return None, buffer
        block, rest = buffer[: end + 2], buffer[end + 4 :]
        if len(block) > MAX_TRAILERS:
            raise ProtocolError(431, "trailers too large", proxy_error=_TRAILERS)
        lines = check_octets(block)
        if lines > MAX_TRAILER_FIELDS:
            raise ProtocolError(431, "too many trailers", proxy_error=_TRAILERS)
        return End(_allowed(read_fields(block, 0, lines))), rest


_HEX = re.compile(rb"[0-9A-Fa-f]+")


def _allowed(fields: Headers) -> Headers:
    return allowed_trailers([(name.lower(), value) for name, value in fields])
