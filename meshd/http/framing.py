"""Where a message ends, and which fields belong to one connection only. Pure rules over the raw fields of a head.

Sources: RFC 9112 sections 6 and 9, RFC 9110 sections 7.6.1 and 10.1.1. Where the RFC leaves a choice between refusing and
guessing, we refuse: every request smuggling advisory began with a guess.
"""

import re

from meshd.core.errors import ProtocolError
from meshd.core.head import Headers

# Taken out of every head: each means something between two neighbours only.
CONNECTION_FIELDS = frozenset(
    (
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
# What a Connection field can not take away, because somebody else relies on it (CVE-2026-105299 and its kin).
PROTECTED = frozenset(
    (
        b"authorization",
        b"cookie",
        b"forwarded",
        b"traceparent",
        b"tracestate",
        b"via",
        b"x-forwarded-client-cert",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-request-id",
    )
)
# Never believed in a trailer (RFC 9110 section 6.5.1): framing, routing, identity.
NOT_IN_TRAILERS = CONNECTION_FIELDS | PROTECTED | {b"trailer", b"content-type", b"content-encoding", b"content-range"}
_LENGTH = re.compile(rb"0*[0-9]{1,19}")
MAX_LENGTH = 2**63 - 1


class Framing:
    """The connection fields of one head, as they are met, and what they add up to."""

    __slots__ = ("chunked", "codings", "connection", "expect", "hosts", "lengths", "te", "upgrade")

    def __init__(self) -> None:
        self.hosts: list[bytes] = []
        self.lengths: list[bytes] = []
        self.codings: list[bytes] = []
        self.connection: list[bytes] = []
        self.upgrade: list[bytes] = []
        self.expect: list[bytes] = []
        self.te: list[bytes] = []
        self.chunked = False

    def note(self, name: bytes, value: bytes) -> None:
        """Keep one of CONNECTION_FIELDS."""
        if name == b"host":
            self.hosts.append(value)
        elif name == b"content-length":
            self.lengths.append(value)
        elif name == b"transfer-encoding":
            self.codings.append(value)
        elif name == b"connection":
            self.connection += [token.strip(b" \t").lower() for token in value.split(b",")]
        elif name == b"upgrade":
            self.upgrade.append(value)
        elif name == b"expect":
            self.expect.append(value.lower())
        elif name == b"te":
            self.te += [token.strip(b" \t").lower() for token in value.split(b",")]

    def keeps_alive(self, version: bytes) -> bool:
        """Whether the sender lets the connection go on after this message."""
        if b"close" in self.connection:
            return False
        return version == b"http/1.1" or b"keep-alive" in self.connection

    def content_length(self) -> int | None:
        """The one valid length; None when there is none. Raises ProtocolError."""
        if not self.lengths:
            return None
        if len(self.lengths) > 1 or not _LENGTH.fullmatch(self.lengths[0]):
            raise ProtocolError(400, "invalid or repeated content-length")
        length = int(self.lengths[0])
        if length > MAX_LENGTH:
            raise ProtocolError(400, "content-length out of range")
        return length

    def body_length(self, version: bytes) -> int | None:
        """Octets of body by these fields alone: None for chunked or undeclared (then `chunked` tells which)."""
        if not self.codings:
            return self.content_length()
        if self.lengths:
            raise ProtocolError(400, "content-length together with transfer-encoding")
        if version != b"http/1.1":
            raise ProtocolError(400, "transfer-encoding in HTTP/1.0")
        if len(self.codings) > 1 or self.codings[0].lower() != b"chunked":
            known = all(each.strip(b" \t").lower() in _CODINGS for each in b",".join(self.codings).split(b","))
            raise ProtocolError(501 if known else 400, "a transfer-encoding other than chunked")
        self.chunked = True
        return None


_CODINGS = frozenset((b"chunked", b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"))


def without_nominated(headers: Headers, connection: list[bytes]) -> Headers:
    """The fields that a Connection field does not claim for this hop."""
    nominated = {name for name in connection if name not in PROTECTED and not name.startswith(b"x-meshd-")}
    return [field for field in headers if field[0] not in nominated]
