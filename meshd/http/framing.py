"""Where a message ends, and which fields belong to one connection only. Pure rules over the raw fields of a head.

Sources: RFC 9112 sections 6 and 9, RFC 9110 sections 7.6.1 and 10.1.1. Where the RFC leaves a choice between refusing
and guessing, we refuse: every request smuggling advisory began with a guess.
"""

import re

from meshd.core import proxy_errors
from meshd.core.errors import ProtocolError
from meshd.core.head import Headers
from meshd.core.spelling import fold, fold_all
from meshd.http.owned import CLAIMS, FAMILIES, INTERNAL_FIELDS, MANAGED_FIELDS

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
# What a Connection field says that is not the name of a field, or of one that is out of every head anyway.
CONNECTION_OPTIONS = CONNECTION_FIELDS | {b"close"}
# What a Connection field can not take away, because somebody else relies on it (CVE-2026-105299 and its kin).
PROTECTED = CLAIMS | MANAGED_FIELDS | INTERNAL_FIELDS | {b"authorization", b"cookie", b"tracestate"}
_PROTECTED_FAMILIES = (b"x-meshd-", *FAMILIES)
# Never believed in a trailer (RFC 9110 section 6.5.1), however it is spelled: framing, routing, identity.
NOT_IN_TRAILERS = CONNECTION_FIELDS | PROTECTED | {b"trailer", b"content-type", b"content-encoding", b"content-range"}
_FOLDED_NOT_IN_TRAILERS = fold_all(NOT_IN_TRAILERS)
_LENGTH = re.compile(rb"0{0,64}[0-9]{1,19}")  # `int` refuses thousands of digits, be they zeros
MAX_LENGTH = 2**63 - 1
_CODING = proxy_errors.HTTP_RESPONSE_TRANSFER_CODING


class Framing:
    """The connection fields of one head, by name, and what they add up to. Most heads have one or two."""

    __slots__ = ("chunked", "connection", "fields")

    def __init__(self, fields: dict[bytes, list[bytes]]) -> None:
        self.fields = fields
        self.chunked = False
        self.connection = tokens(fields[b"connection"]) if b"connection" in fields else NO_TOKENS

    def keeps_alive(self, version: bytes) -> bool:
        """Whether the sender lets the connection go on after this message."""
        if b"close" in self.connection:
            return False
        return version == b"http/1.1" or b"keep-alive" in self.connection

    def content_length(self) -> int | None:
        """The one valid length; None when there is none. Raises ProtocolError."""
        lengths = self.fields.get(b"content-length")
        if lengths is None:
            return None
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            raise ProtocolError(400, "invalid or repeated content-length")
        length = int(lengths[0])
        if length > MAX_LENGTH:
            raise ProtocolError(400, "content-length out of range")
        return length

    def body_length(self, version: bytes) -> int | None:
        """Octets of body by these fields alone: None for chunked or undeclared (then `chunked` tells which)."""
        codings = self.fields.get(b"transfer-encoding")
        if codings is None:
            return self.content_length()
        if b"content-length" in self.fields:
            raise ProtocolError(400, "content-length together with transfer-encoding")
        if version != b"http/1.1":
            raise ProtocolError(400, "transfer-encoding in HTTP/1.0", proxy_error=_CODING)
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            known = all(each in _CODINGS for each in tokens(codings))
            raise ProtocolError(501 if known else 400, "a transfer-encoding other than chunked", proxy_error=_CODING)
        self.chunked = True
        return None


NO_TOKENS: frozenset[bytes] = frozenset()


def tokens(values: list[bytes]) -> frozenset[bytes]:
    """The members of a comma list that may be spread over several fields, in lower case."""
    if len(values) == 1 and (known := _KNOWN.get(values[0])) is not None:
        return known
    return frozenset(token.strip(b" \t").lower() for value in values for token in value.split(b","))


# What nearly every Connection field says, so that it need not be taken apart each time.
_KNOWN = {
    written: frozenset(written.lower().split(b", "))
    for written in (b"keep-alive", b"Keep-Alive", b"close", b"Close", b"upgrade", b"Upgrade", b"keep-alive, Upgrade")
}


_CODINGS = frozenset((b"chunked", b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"))


def without_nominated(headers: Headers, connection: frozenset[bytes]) -> Headers:
    """The fields that a Connection field does not claim for this hop."""
    if connection <= CONNECTION_OPTIONS:
        return headers
    nominated = {name for name in connection if name not in PROTECTED and not name.startswith(_PROTECTED_FAMILIES)}
    return [field for field in headers if field[0] not in nominated]


def allowed_trailers(trailers: Headers) -> Headers:
    """Those that may be believed where they stand."""
    return [field for field in trailers if _may_trail(fold(field[0]))]


def _may_trail(folded: bytes) -> bool:
    return folded not in _FOLDED_NOT_IN_TRAILERS and not folded.startswith(_PROTECTED_FAMILIES)
