"""From the octets of a head to a `RequestHead` or `ResponseHead`, with what its framing fields say.

Parsed by our own rules over two C-speed regular expressions: measured beside llhttp (httptools) it is as fast once
llhttp's callbacks have built the same lists, and it is strict by itself, where llhttp needs every one of these checks
again behind it.
"""

import re

from meshd.core import proxy_errors
from meshd.core.errors import ProtocolError
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.http.fields import TOKEN, check_octets, read_fields
from meshd.http.framing import CONNECTION_FIELDS, Framing, tokens, without_nominated
from meshd.http.limits import Limits
from meshd.http.target import authority, read_target

_REQUEST_LINE = re.compile(rb"(" + TOKEN.pattern + rb") ([^ \r\n]+) HTTP/([0-9]\.[0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_OF_CONNECTION = re.compile(rb"(?:TLS|SSL|HTTP|h2c?)(?:/|$)", re.IGNORECASE)
VERSIONS = {b"1.1": b"http/1.1", b"1.0": b"http/1.0"}
NO_FIELDS: dict[bytes, list[bytes]] = {}


class Names:
    """Field names as they are written, remembered in lower case: there are few. b"" marks those of the connection."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def split(self, fields: Headers) -> tuple[Headers, dict[bytes, list[bytes]]]:
        """End-to-end fields in lower case, and those of the connection by name."""
        headers: Headers = []
        special = NO_FIELDS
        known = self._known
        for field in fields:
            name = known.get(field[0])
            if name is None:
                name = self._learn(field[0])
            if name:
                headers.append((name, field[1]))
            else:
                if special is NO_FIELDS:
                    special = {}
                special.setdefault(field[0].lower(), []).append(field[1])
        return headers, special

    def _learn(self, written: bytes) -> bytes:
        lowered = written.lower()
        name = b"" if lowered in CONNECTION_FIELDS else lowered
        if len(self._known) < 1024 and len(written) <= 64:  # both bounds together are the bound of memory
            self._known[written] = name
        return name


_NAMES = Names()


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
    match = _REQUEST_LINE.fullmatch(block, 0, line_end)
    if match is None:
        raise ProtocolError(400, "malformed request line")
    method, target, version = match.groups()
    protocol = VERSIONS.get(version)
    if protocol is None:
        raise ProtocolError(505, "an HTTP version other than 1.0 and 1.1")
    headers, special = _NAMES.split(read_fields(block, line_end + 2, lines - 2))
    head = RequestHead(method, b"", b"", headers)
    head.protocol = protocol
    framing = Framing(special)
    _set_authority(head, target, special.get(b"host"))
    if len(special) > 1 or b"host" not in special or protocol != b"http/1.1":
        _set_connection(head, framing)
    return head, framing


def _set_authority(head: RequestHead, target: bytes, hosts: list[bytes] | None) -> None:
    if hosts is None:
        if head.protocol == b"http/1.1":
            raise ProtocolError(400, "missing_host_header")
        read_target(head, target, b"")
        return
    if len(hosts) > 1:
        raise ProtocolError(400, "more than one Host field")
    host = hosts[0]
    read_target(head, target, host)
    if host and not target.startswith(b"/"):
        authority(host)  # overruled by the target, but still to be valid


def _set_connection(head: RequestHead, framing: Framing) -> None:
    """What the fields of the connection other than Host say."""
    special, protocol = framing.fields, head.protocol
    length = framing.body_length(protocol)
    head.length = None if framing.chunked else (length or 0)
    head.keep_alive = framing.keeps_alive(protocol)
    _keep_end_to_end(head, framing)
    if protocol != b"http/1.1":
        return
    for value in special.get(b"expect", ()):
        if value.lower() != b"100-continue":
            raise ProtocolError(417, "an expectation other than 100-continue")
        head.expect_continue = head.length != 0
    if head.length == 0 and b"upgrade" in special and b"upgrade" in framing.connection:
        head.upgrade = _servable(special[b"upgrade"])


def _servable(offers: list[bytes]) -> bytes | None:
    """The protocols of Upgrade that somebody behind us may speak; the others are ignored, as is one that is asked for
    with a body (RFC 9110 section 7.8). TLS and HTTP are of the connection, which ends here: to HTTP/2 a client says so
    in advance (RFC 9113 section 3.1)."""
    wanted = [offer.strip() for value in offers for offer in value.split(b",")]
    return b", ".join([offer for offer in wanted if offer and not _OF_CONNECTION.match(offer)]) or None


def _keep_end_to_end(head: RequestHead | ResponseHead, framing: Framing) -> None:
    """Fields that Connection names go; `te: trailers` is worth telling the next hop."""
    if framing.connection:
        head.headers = without_nominated(head.headers, framing.connection)
    if b"te" in framing.fields and b"trailers" in tokens(framing.fields[b"te"]):
        head.headers.append((b"te", b"trailers"))


def parse_response(block: bytes, limits: Limits, method: bytes) -> tuple[ResponseHead, Framing]:
    """A response to a request of `method` from its head, the empty line included. Raises ProtocolError."""
    try:
        return _parse_response(block, limits, method)
    except ProtocolError as error:
        raise error.of_response() from error


def _parse_response(block: bytes, limits: Limits, method: bytes) -> tuple[ResponseHead, Framing]:
    lines = check_octets(block)
    if lines - 2 > limits.fields:
        kind = proxy_errors.HTTP_RESPONSE_HEADER_SECTION_SIZE
        raise ProtocolError(502, f"more than {limits.fields} header fields", proxy_error=kind)
    line_end = block.find(b"\r\n")
    if line_end > limits.line:
        raise ProtocolError(502, "status line too long")
    match = _STATUS_LINE.fullmatch(block, 0, line_end)
    if match is None:
        raise ProtocolError(502, "malformed status line")
    headers, special = _NAMES.split(read_fields(block, line_end + 2, lines - 2))
    status = int(match[2])
    head = ResponseHead(status, headers)
    if match[1] == b"0":
        head.protocol = b"http/1.0"
    framing = Framing(special)
    if status < 200 or status in {204, 304} or method == b"HEAD":
        head.bodiless = True
        if b"transfer-encoding" in special and (status < 200 or status == 204):
            kind = proxy_errors.HTTP_RESPONSE_TRANSFER_CODING
            raise ProtocolError(502, "transfer-encoding in a response without a body", proxy_error=kind)
    head.length = framing.body_length(head.protocol)
    head.keep_alive = framing.keeps_alive(head.protocol)
    if framing.connection:
        _keep_end_to_end(head, framing)
    if status == 101:
        if b"upgrade" not in special or b"upgrade" not in framing.connection:
            raise ProtocolError(502, "101 without an Upgrade field")
        head.upgrade = b", ".join(special[b"upgrade"])
    return head, framing
