"""gRPC over HTTP, as far as a proxy must speak it: statuses, messages, time-outs, and replies of our own.

Sources: grpc/grpc doc/PROTOCOL-HTTP2.md and doc/http-grpc-status-mapping.md; for what a proxy knows better than that
table, linkerd2-proxy's choices.
"""

import re
from typing import Final

from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.core.rpc import PREFIX, Rpc

CONTENT_TYPE: Final = b"application/grpc"
UNKNOWN: Final = 2
UNAVAILABLE: Final = 14
SHORTEST: Final = 1e-9  # seconds: a grpc-timeout is a positive number

# The names of the statuses, by number.
STATUS_NAMES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

# HTTP status of a reply of ours → grpc-status: we know what the status meant.
OWN_STATUS: Final = {
    400: 13,
    401: 16,
    403: 7,
    404: 12,  # there is no such method here (Gateway API: what no GRPCRoute takes is UNIMPLEMENTED)
    408: 4,
    409: 10,
    429: 8,
    500: 13,
    501: 12,
    502: 14,
    503: 14,
    504: 4,
    508: 10,
}
# HTTP status of somebody who does not speak gRPC → grpc-status.
FOREIGN_STATUS: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
# grpc-status → the HTTP status that says the same.
HTTP_STATUS: Final = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
# The units of grpc-timeout in nanoseconds, finest first.
_UNITS: Final = {b"n": 1, b"u": 10**3, b"m": 10**6, b"S": 10**9, b"M": 60 * 10**9, b"H": 3600 * 10**9}
_MOST: Final = 99_999_999  # eight digits
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


def is_grpc(content_type: bytes | None) -> bool:
    """Whether a message with this content type speaks gRPC (not gRPC-Web, which a browser reads)."""
    if content_type is None or not content_type.startswith(CONTENT_TYPE):
        return False
    return content_type[len(CONTENT_TYPE) :][:1] in (b"", b"+", b";")


def status_name(status: int) -> str:
    """What a status is called; those that nobody named are called by their number."""
    return STATUS_NAMES[status] if 0 <= status < len(STATUS_NAMES) else str(status)


def begin_rpc(head: RequestHead, now: float) -> Rpc:
    """The call that a request with a content type of gRPC begins."""
    timeout = parse_timeout(head.get(b"grpc-timeout") or b"")
    return Rpc() if timeout is None else Rpc(now + timeout)


def rewrite_timeout(head: RequestHead, left: float) -> None:
    """Let the next server know how many seconds are left. Only for a head that has a grpc-timeout."""
    value = format_timeout(max(left, SHORTEST))
    head.headers[:] = [(name, value if name == b"grpc-timeout" else old) for name, old in head.headers]
    head.changed()


def parse_timeout(value: bytes) -> float | None:
    """Seconds of a grpc-timeout field; None for one that is not valid, which is to be ignored."""
    match = _TIMEOUT.fullmatch(value)
    return int(match[1]) * _UNITS[match[2]] / 10**9 if match is not None else None


def format_timeout(seconds: float) -> bytes:
    """The grpc-timeout for so many seconds: the finest unit that eight digits allow, never more time than given."""
    left = max(0, int(seconds * 10**9))
    for unit, size in _UNITS.items():
        if left // size <= _MOST:
            return b"%d%b" % (left // size, unit)
    return b"%dH" % _MOST


def status_of(value: bytes | None) -> int | None:
    """The number of a grpc-status field; None when it is absent, UNKNOWN when it is not a status."""
    if value is None:
        return None
    return int(value) if value.isdigit() and len(value) <= 2 and int(value) < len(HTTP_STATUS) else UNKNOWN


def outcome_of(head: ResponseHead) -> int | None:
    """The grpc-status that a client reads off a response head; None when it is still to come in the trailers."""
    status = status_of(head.get(b"grpc-status"))
    if status is None and head.status != 200:
        return FOREIGN_STATUS.get(head.status, UNKNOWN)
    return status


def failure(status: int, message: str) -> tuple[int, Headers]:
    """How a response ends whose cause would have had this HTTP status: a grpc-status, and the trailers that say it."""
    own = OWN_STATUS.get(status, UNKNOWN)
    return own, [(b"grpc-status", b"%d" % own), (b"grpc-message", percent_encode(message.encode("utf-8", "replace")))]


def http_status(status: int) -> int:
    """The HTTP status that says what a grpc-status says."""
    return HTTP_STATUS[status] if 0 <= status < len(HTTP_STATUS) else 500


def trailers_only(status: int, message: bytes, headers: Headers) -> ResponseHead:
    """A reply without a body: HTTP 200, and the status where a client of gRPC looks for it. Send it as the end."""
    fields = [*headers, (b"content-type", CONTENT_TYPE), (b"grpc-status", b"%d" % status)]
    if message:
        fields.append((b"grpc-message", percent_encode(message)))
    return ResponseHead(200, fields, 0)


def frame(message: bytes) -> bytes:
    """One message as it stands in a body, not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def unframe(body: bytes) -> bytes | None:
    """The message of a body; None unless it is exactly one, and not compressed."""
    if len(body) < PREFIX or body[0] or int.from_bytes(body[1:PREFIX], "big") != len(body) - PREFIX:
        return None
    return body[PREFIX:]


def percent_encode(message: bytes) -> bytes:
    """The encoding of grpc-message: printable ASCII but for the percent sign stays as it is."""
    return b"".join(b"%c" % octet if 0x20 <= octet < 0x7F and octet != 0x25 else b"%%%02X" % octet for octet in message)


def percent_decode(value: bytes) -> bytes:
    """The message of a grpc-message field; what is not an escape stays as it is."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), value)
