"""From the octets of a head to a `RequestHead` or `ResponseHead`, with what its framing fields say.

Parsed by our own rules over two C-speed regular expressions: measured beside llhttp (httptools) it is as fast once
llhttp's callbacks have built the same lists, and it is strict by itself, where llhttp needs every one of these checks
again behind it.
"""

import re

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead, ResponseHead
from meshd.http.fields import TOKEN, check_octets, read_fields
from meshd.http.framing import CONNECTION_FIELDS, Framing, without_nominated
from meshd.http.limits import Limits
from meshd.http.target import read_target

_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_REQUEST_LINE = re.compile(TOKEN.pattern + rb" [^ \r\n]+ HTTP/[0-9]\.[0-9]")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
VERSIONS = {b"HTTP/1.1": b"http/1.1", b"HTTP/1.0": b"http/1.0"}


def check_request_line(partial: bytes) -> None:
    """Refuse a head whose first line is here and is no request line, without waiting for the rest of it."""
    line_end = partial.find(b"\r\n")
    if line_end >= 0 and not _REQUEST_LINE.fullmatch(partial, 0, line_end):
        raise ProtocolError(400, "malformed request line")


def parse_request(block: bytes, limits: Limits) -> tuple[RequestHead, Framing]:
    """A request from its head, the empty line included. Raises ProtocolError."""
    lines = check_octets(block)
    line_end = block.find(b"\r\n")
    if line_end > limits.line:
        raise ProtocolError(414, "request line too long")
    if lines - 2 > limits.fields:
        raise ProtocolError(431, f"more than {limits.fields} header fields")
    parts = block[:line_end].split(b" ")
    if len(parts) != 3 or not TOKEN.fullmatch(parts[0]) or not parts[1]:
        raise ProtocolError(400, "malformed request line")
    method, target, version = parts
    protocol = VERSIONS.get(version)
    if protocol is None:
        raise ProtocolError(505 if _VERSION.fullmatch(version) else 400, "an HTTP version other than 1.0 and 1.1")
    head = RequestHead(method, b"", b"")
    head.protocol = protocol
    framing = Framing()
    _split(head, framing, read_fields(block, line_end + 2, lines - 2))
    _set_authority(head, target, framing)
    length = framing.body_length(protocol)
    head.length = None if framing.chunked else (length or 0)
    _set_connection(head, framing)
    return head, framing


def _split(head: RequestHead | ResponseHead, framing: Framing, fields: list[tuple[bytes, bytes]]) -> None:
    """End-to-end fields to the head, those of the connection to `framing`."""
    headers = head.headers
    for name, value in fields:
        lowered = name.lower()
        if lowered in CONNECTION_FIELDS:
            framing.note(lowered, value)
        else:
            headers.append((lowered, value))
    if framing.connection:
        head.headers = without_nominated(headers, framing.connection)
    if b"trailers" in framing.te:
        head.headers.append((b"te", b"trailers"))


def _set_authority(head: RequestHead, target: bytes, framing: Framing) -> None:
    hosts = framing.hosts
    if len(hosts) > 1:
        raise ProtocolError(400, "more than one Host field")
    if not hosts and head.protocol == b"http/1.1":
        raise ProtocolError(400, "missing_host_header")
    host = hosts[0] if hosts else b""
    read_target(head, target, host)
    if host and not target.startswith(b"/"):
        read_target(RequestHead(b"OPTIONS", b"", b""), b"*", host)  # overruled by the target, but still to be valid


def _set_connection(head: RequestHead, framing: Framing) -> None:
    head.keep_alive = framing.keeps_alive(head.protocol)
    if head.protocol != b"http/1.1":
        return
    for value in framing.expect:
        if value != b"100-continue":
            raise ProtocolError(417, "an expectation other than 100-continue")
        head.expect_continue = head.length != 0
    if framing.upgrade and b"upgrade" in framing.connection and head.length == 0:
        token = b", ".join(framing.upgrade)
        if not token.lower().startswith(b"h2c"):  # to HTTP/2 a client says so in advance (RFC 9113 section 3.1)
            head.upgrade = token


def parse_response(block: bytes, limits: Limits, method: bytes) -> tuple[ResponseHead, Framing]:
    """A response to a request of `method` from its head, the empty line included. Raises ProtocolError."""
    try:
        return _parse_response(block, limits, method)
    except ProtocolError as error:
        raise ProtocolError(502, error.details) from error


def _parse_response(block: bytes, limits: Limits, method: bytes) -> tuple[ResponseHead, Framing]:
    lines = check_octets(block)
    if lines - 2 > limits.fields:
        raise ProtocolError(502, f"more than {limits.fields} header fields")
    line_end = block.find(b"\r\n")
    match = _STATUS_LINE.fullmatch(block, 0, line_end)
    if match is None:
        raise ProtocolError(502, "malformed status line")
    head = ResponseHead(int(match[2]))
    head.protocol = b"http/1.1" if match[1] == b"1" else b"http/1.0"
    framing = Framing()
    _split(head, framing, read_fields(block, line_end + 2, lines - 2))
    status = head.status
    head.bodiless = status < 200 or status == 204 or status == 304 or method == b"HEAD"
    if head.bodiless and framing.codings and (status < 200 or status == 204):
        raise ProtocolError(502, "transfer-encoding in a response without a body")
    head.length = framing.body_length(head.protocol)
    head.keep_alive = framing.keeps_alive(head.protocol)
    if status == 101:
        if not framing.upgrade or b"upgrade" not in framing.connection:
            raise ProtocolError(502, "101 without an Upgrade field")
        head.upgrade = b", ".join(framing.upgrade)
    return head, framing
