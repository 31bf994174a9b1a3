"""Header blocks of HTTP/2 to heads and back, with every rule that makes a message malformed (RFC 9113 section 8).

The library behind the sessions checks none of the grammar of :method, :path, :scheme and :authority; what passes here
can be written as HTTP/1.1 without a second look. Where a peer broke HTTP/2 itself the error is `Malformed`, a stream
error; where it asked for something that we refuse in any version (a path without a safe form, too many fields) it is a
plain `ProtocolError` with the status to answer.
"""

import re
from collections.abc import Callable

from meshd.core import proxy_errors
from meshd.core.errors import ProtocolError
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.http.fields import TEXT
from meshd.http.framing import CONNECTION_FIELDS, MAX_LENGTH, allowed_trailers
from meshd.http.h2_library import Secret
from meshd.http.limits import Limits
from meshd.http.target import authority, read_target
from meshd.http.upgrade import WEBSOCKET

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_STATUS = re.compile(rb"[1-9][0-9]{2}")
_REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority", b":protocol"))
_RESPONSE_PSEUDO = frozenset((b":status",))
_NO_PSEUDO: frozenset[bytes] = frozenset()
# Means something between two neighbours of HTTP/1.1 only (RFC 9113 section 8.2.2).
_FORBIDDEN = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_SPECIAL = frozenset((b"content-length", b"cookie", b"expect", b"host", b"http2-settings", b"te"))
# Never to be in a compression table. One connection between two sidecars carries many clients: a table that remembered
# secrets could be asked for them by guessing (RFC 7541 section 7.1). And what no two messages share would only push out
# what they do.
UNTABLED = frozenset(
    (
        b"authorization",
        b"cookie",
        b"proxy-authorization",
        b"set-cookie",
        b"traceparent",
        b"x-api-key",
        b"x-request-id",
    )
)
_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))
_TE = (b"te", b"trailers")
_EXPECT = (b"expect", b"100-continue")
_REGULAR, _PSEUDO, _OURS = 0, 1, 2  # kinds of names

Field = tuple[bytes, bytes]
MakeSecret = Callable[[bytes, bytes], Field]


class Malformed(ProtocolError):
    """The message breaks HTTP/2: its stream is reset with PROTOCOL_ERROR (RFC 9113 section 8.1.1)."""

    def __init__(self, details: str) -> None:
        super().__init__(400, details)


def read_request(fields: Headers, limits: Limits, *, end: bool, connect_protocol: bool = False) -> RequestHead:
    """A request from its fields; `end` says that no body follows. Raises Malformed or ProtocolError."""
    pseudo, headers, special = _sort(fields, limits, _REQUEST_PSEUDO)
    method = pseudo.get(b":method", b"")
    if not _METHOD.fullmatch(method):
        raise Malformed("no valid :method")
    head = RequestHead(method, b"", b"", headers)
    head.protocol = b"h2"
    host = _authority(pseudo, special)
    if b":protocol" in pseudo:
        _extend_connect(head, pseudo[b":protocol"], allowed=connect_protocol)
    if method == b"CONNECT" and head.upgrade is None:
        if b":scheme" in pseudo or b":path" in pseudo or b":authority" not in pseudo:
            raise Malformed("CONNECT takes :authority alone")
        read_target(head, host, None)
    else:
        _set_target(head, pseudo, host, limits)
    if special:
        _set_special(head, special, end=end)
    length = _content_length(special)
    if length and (end or head.upgrade is not None):
        raise Malformed("content-length without a body")
    head.length = 0 if end or head.upgrade is not None else length
    return head


def _set_target(head: RequestHead, pseudo: dict[bytes, bytes], host: bytes, limits: Limits) -> None:
    scheme, path = pseudo.get(b":scheme", b""), pseudo.get(b":path", b"")
    if not _SCHEME.fullmatch(scheme):
        raise Malformed("no valid :scheme")
    if not path.startswith(b"/") and not (path == b"*" and head.method == b"OPTIONS"):
        raise Malformed("no valid :path")
    head.scheme = scheme.lower()
    if head.scheme not in (b"http", b"https"):
        raise ProtocolError(400, "a scheme that is not served here")
    if not host:
        raise ProtocolError(400, "missing_host_header")
    if len(path) > limits.line:
        raise ProtocolError(414, "request target too long")
    read_target(head, path, host)


def _extend_connect(head: RequestHead, protocol: bytes, *, allowed: bool) -> None:
    """Extended CONNECT (RFC 8441) is to HTTP/2 what GET with Upgrade is to HTTP/1.1; policies see the latter. What
    comes behind it is no body but the other protocol."""
    if head.method != b"CONNECT" or not allowed:
        raise Malformed(":protocol where it was not offered")
    if not _METHOD.fullmatch(protocol) or protocol.lower().startswith(b"h2c"):
        raise Malformed("no valid :protocol")
    if protocol.lower() != WEBSOCKET:  # what else there is has rules of its own (RFC 9220 section 3 says 501)
        raise ProtocolError(501, "extended CONNECT for something else than a WebSocket")
    head.method = b"GET"
    head.upgrade = protocol


def _authority(pseudo: dict[bytes, bytes], special: dict[bytes, list[bytes]]) -> bytes:
    """What :authority and Host agree on; empty when there is neither."""
    hosts = special.pop(b"host", None)
    named = pseudo.get(b":authority")
    if hosts is None:
        return named or b""
    if len(hosts) > 1:
        raise Malformed("more than one Host field")
    if named is not None and authority(hosts[0]) != authority(named):
        raise Malformed("Host and :authority differ")
    return hosts[0] if named is None else named


def _set_special(head: RequestHead, special: dict[bytes, list[bytes]], *, end: bool) -> None:
    if b"cookie" in special:  # sent in crumbs (RFC 9113 section 8.2.3)
        head.headers.append(Secret((b"cookie", b"; ".join(special[b"cookie"]))))
    if b"te" in special:
        if any(value.lower() != b"trailers" for value in special[b"te"]):
            raise Malformed("te other than trailers")
        head.headers.append(_TE)
    for value in special.get(b"expect", ()):
        if value.lower() != b"100-continue":
            raise ProtocolError(417, "an expectation other than 100-continue")
        head.expect_continue = not end


def _content_length(special: dict[bytes, list[bytes]]) -> int | None:
    lengths = special.get(b"content-length")
    if lengths is None:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]) or int(lengths[0]) > MAX_LENGTH:
        raise Malformed("invalid or repeated content-length")
    return int(lengths[0])


def read_response(fields: Headers, limits: Limits, method: bytes, *, end: bool) -> ResponseHead:
    """A response to a request of `method`. Raises ProtocolError with status 502, whatever is wrong with it."""
    try:
        return _read_response(fields, limits, method, end=end)
    except ProtocolError as error:
        raise error.of_response() from error


def _read_response(fields: Headers, limits: Limits, method: bytes, *, end: bool) -> ResponseHead:
    pseudo, headers, special = _sort(fields, limits, _RESPONSE_PSEUDO)
    text = pseudo.get(b":status", b"")
    if not _STATUS.fullmatch(text):
        raise Malformed("no valid :status")
    status = int(text)
    head = ResponseHead(status, headers)
    head.protocol = b"h2"
    length = _content_length(special)
    if b"cookie" in special:
        headers.append((b"cookie", b"; ".join(special[b"cookie"])))
    if status < 200:
        if end or status == 101:  # there is no 101 in HTTP/2 (RFC 9113 section 8.6)
            raise Malformed("an interim response that ends the stream, or 101")
        head.bodiless = True
        return head
    head.bodiless = status in (204, 304) or method == b"HEAD"
    if method == b"CONNECT" and status < 300:
        return head  # what it says of its length means nothing (RFC 9110 section 9.3.6)
    if end and length and not head.bodiless:
        raise Malformed("content-length without a body")
    head.length = 0 if end and not head.bodiless else length
    return head


def read_trailers(fields: Headers, limits: Limits) -> Headers:
    """The trailers that may be believed (RFC 9110 section 6.5.1). Raises Malformed or ProtocolError."""
    return allowed_trailers(_sort(fields, limits, _NO_PSEUDO)[1])


def _sort(
    fields: Headers, limits: Limits, allowed: frozenset[bytes]
) -> tuple[dict[bytes, bytes], Headers, dict[bytes, list[bytes]]]:
    """Pseudo-header fields, those that go end to end, and those that a head has in places of their own."""
    most = limits.fields
    if len(fields) > most and sum(not name.startswith(b":") for name, _ in fields) > most:
        raise ProtocolError(
            431, f"more than {most} header fields", proxy_error=proxy_errors.HTTP_RESPONSE_HEADER_SECTION_SIZE
        )
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    special: dict[bytes, list[bytes]] = {}
    octets = 0
    for field in fields:
        name = field[0]
        octets += len(name)
        kind = _KINDS.get(name)
        if kind is None:
            kind = _learn(name)
        if kind == _REGULAR:
            headers.append(field)
        elif kind == _OURS:
            special.setdefault(name, []).append(field[1])
        elif headers or special or name in pseudo or name not in allowed:
            raise Malformed("a pseudo-header field that is repeated, misplaced or undefined")
        else:
            pseudo[name] = field[1]
    if octets + _check_values(fields) > limits.head:
        raise ProtocolError(431, "header fields too large", proxy_error=proxy_errors.HTTP_RESPONSE_HEADER_SECTION_SIZE)
    return pseudo, headers, special


def _check_values(fields: Headers) -> int:
    """All values in one go: no control octet, no white space around them. The number of their octets."""
    lines = b"\n".join([b"", *[value for _, value in fields], b""])
    if lines.translate(None, TEXT) != b"\n" * (len(fields) + 1):
        raise Malformed("a control octet in a field value")
    if b" \n" in lines or b"\n " in lines or b"\t\n" in lines or b"\n\t" in lines:
        raise Malformed("white space around a field value")
    return len(lines) - len(fields) - 1


# Names that were found valid, and what they are: there are few.
_KINDS: dict[bytes, int] = {}


def _learn(name: bytes) -> int:
    if name in _FORBIDDEN:
        raise Malformed("a field that belongs to one connection of HTTP/1.1")
    if name.startswith(b":"):
        kind = _PSEUDO
    elif not _NAME.fullmatch(name):
        raise Malformed("an invalid field name")
    else:
        kind = _OURS if name in _SPECIAL else _REGULAR
    if len(_KINDS) < 1024 and len(name) < 64:
        _KINDS[name] = kind
    return kind


def request_fields(head: RequestHead, secret: MakeSecret, *, end: bool) -> Headers:
    """The fields that say `head`. An upgrade becomes extended CONNECT, which the peer must have offered."""
    if head.upgrade is not None:
        fields = [
            (b":method", b"CONNECT"),
            (b":protocol", head.upgrade),
            (b":scheme", head.scheme),
            (b":path", head.target),
        ]
    elif head.method == b"CONNECT":
        fields = [(b":method", head.method)]
    else:
        fields = [(b":method", head.method), (b":scheme", head.scheme), (b":path", head.target)]
    if head.authority:
        fields.append((b":authority", head.authority))
    _add_headers(fields, head.headers, secret)
    if _TE in head.headers:
        fields.append(_TE)
    if head.length is not None and head.upgrade is None and (head.length or head.method in _WITH_BODY):
        fields.append((b"content-length", b"%d" % head.length))
    if head.expect_continue and not end:
        fields.append(_EXPECT)
    return fields


def response_fields(head: ResponseHead, secret: MakeSecret) -> Headers:
    """The fields that say `head`; a switch of protocols is a plain success (RFC 8441 section 5)."""
    status = 200 if head.status == 101 else head.status
    fields: Headers = [(b":status", b"%d" % status)]
    _add_headers(fields, head.headers, secret)
    if head.length == 0 and head.get(b"grpc-status") is not None:
        return fields  # trailers only: gRPC has them without a length, and we add nothing
    if head.length is not None and status >= 200 and status != 204 and head.status != 101:
        fields.append((b"content-length", b"%d" % head.length))
    return fields


def trailer_fields(trailers: Headers, secret: MakeSecret) -> Headers:
    """The trailers that may be sent; there may be none left."""
    fields: Headers = []
    _add_headers(fields, allowed_trailers(trailers), secret)
    return fields


def _add_headers(fields: Headers, headers: Headers, secret: MakeSecret) -> None:
    for field in headers:
        written = field[0]
        name = _WRITTEN.get(written)
        if name is None:
            name = _learn_written(written)
        if not name:
            continue
        if type(field) is Secret or name in UNTABLED:
            fields.append(secret(name, field[1]))
        else:
            fields.append(field if name == written else (name, field[1]))


# Names as heads have them and as they are sent; b"" for those that are not.
_WRITTEN: dict[bytes, bytes] = {}


def _learn_written(written: bytes) -> bytes:
    lowered = written.lower()
    name = b"" if lowered in CONNECTION_FIELDS else lowered
    if len(_WRITTEN) < 1024 and len(written) < 64:
        _WRITTEN[written] = name
    return name
