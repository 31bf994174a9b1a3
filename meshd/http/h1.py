"""HTTP/1.1 as two codecs: bytes in, events out, bytes back. No I/O, no clock.

`ServerCodec` hears requests and speaks responses, `ClientCodec` the other way round. Both are pulled: `receive` bytes,
then ask for `next_event` until it says None. One exchange at a time; `next_cycle` begins the next, with whatever of it
has been received already.
"""

from http import HTTPStatus

from meshd.core import proxy_errors
from meshd.core.errors import ProtocolError
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.http.body import BodyReader, Shape
from meshd.http.events import End
from meshd.http.fields import check_partial, render_fields
from meshd.http.framing import allowed_trailers
from meshd.http.glimpse import glimpse
from meshd.http.head_parser import check_request_line, parse_request, parse_response
from meshd.http.limits import REQUEST_LIMITS, RESPONSE_LIMITS, Limits

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
MAX_INTERIM = 16
CLOSE = b"connection: close\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"


class ServerCodec:
    """The server's side of a connection."""

    __slots__ = (
        "_chunked_out",
        "_limits",
        "_reader",
        "_request",
        "_scanned",
        "_served",
        "_skipped",
        "asked_upgrade",
        "must_close",
    )

    def __init__(self, limits: Limits = REQUEST_LIMITS) -> None:
        self._limits = limits
        self._reader = BodyReader()
        self._request: RequestHead | None = None
        self._chunked_out = False
        self._scanned = 0
        self._skipped = False
        self._served = False  # a request came before
        self.asked_upgrade = False  # by the last request; what follows, if it is no request, may be the other protocol
        self.must_close = False

    def receive(self, data: bytes) -> None:
        """Take what came from the client; empty bytes are its end."""
        self._reader.receive(data)

    def next_event(self) -> RequestHead | bytes | End | None:
        """What comes next, or None: it is not here yet, or this exchange has been read to its end."""
        if self._reader.shape is not Shape.HEAD:
            try:
                return self._reader.next_piece()
            except ProtocolError:
                self.must_close = True
                raise
        try:
            return self._next_head()
        except ProtocolError:
            self.must_close = True
            raise

    def _next_head(self) -> RequestHead | None:
        reader = self._reader
        buffer = reader.buffer
        if not self._skipped and buffer.startswith(b"\r\n"):  # one empty line is forgiven (RFC 9112 section 2.2)
            buffer = reader.buffer = buffer[2:]
            self._skipped = True
        end = buffer.find(b"\r\n\r\n", self._scanned)
        limits = self._limits
        if end < 0:
            self._scanned = max(0, len(buffer) - 3)
            _check_growth(buffer, limits, 414, 431)
            check_request_line(buffer)
            if reader.eof and buffer:
                raise ProtocolError(400, "the connection ended within a request head")
            return None
        if end > limits.head:
            raise ProtocolError(431, "request header fields too large")
        head, framing = parse_request(buffer[: end + 4], limits)
        reader.buffer = buffer[end + 4 :]
        self._request = head
        self._scanned = 0
        self.asked_upgrade = b"upgrade" in framing.fields
        if head.length == 0:
            reader.shape = Shape.EMPTY
        elif head.method == b"CONNECT":
            raise ProtocolError(400, "CONNECT with a body")
        else:
            reader.expect(head.length, chunked=framing.chunked)
        if not head.keep_alive:
            self.must_close = True
        return head

    def refused_head(self) -> RequestHead:
        """What can be told of the request that was just refused."""
        return self._request or glimpse(self._reader.buffer)

    @property
    def buffered(self) -> bool:
        """Whether there are bytes that have not been looked at, or are only the beginning of something."""
        return bool(self._reader.buffer)

    @property
    def offers_upgrade(self) -> bool:
        """Whether the request asks for a protocol that somebody may speak. If the answer is not 101 and more has come
        already, the client did not wait for it: that may be of either protocol, and nobody guesses which."""
        return self._request is not None and self._request.upgrade is not None

    @property
    def speaks_http2(self) -> bool:
        """Whether the first that came is how a client of HTTP/2 begins, knowing that we speak it (RFC 9113 section
        3.4)."""
        return self._request is None and not self._served and self._reader.buffer.startswith(b"PRI * HTTP/2.0\r\n\r\n")

    @property
    def pending_body(self) -> bool:
        """Whether the client has not yet sent all of its request, as far as we have read."""
        return self._reader.shape not in (Shape.HEAD, Shape.EMPTY, Shape.DONE, Shape.TUNNEL)

    def leftover(self) -> bytes:
        """What came behind the head, for whoever takes the connection over."""
        data, self._reader.buffer = self._reader.buffer, b""
        self._reader.shape = Shape.TUNNEL
        return data

    def next_cycle(self) -> None:
        """Begin with the next request."""
        self._reader.shape = Shape.HEAD
        self._request = None
        self._served = True
        self._skipped = False

    def send_interim(self, status: int, headers: Headers) -> bytes:
        """A 1xx. A client of HTTP/1.0 gets none (RFC 9110 section 15.2)."""
        if self._request is not None and self._request.protocol != b"http/1.1":
            return b""
        return render_fields(_status_line(status), headers, b"")

    def send_head(self, head: ResponseHead, body: bytes = b"", *, end: bool) -> bytes:
        """The head of the final response and the first octets of its body."""
        status, request = head.status, self._request
        if status == 101:
            last = b"upgrade: %b\r\nconnection: upgrade\r\n" % (head.upgrade or b"")
            return render_fields(_status_line(status), head.headers, last)
        self._chunked_out = False
        if self.offers_upgrade and self._reader.buffer:
            self.must_close = True
        if request is not None and request.method == b"CONNECT" and status < 300:
            return render_fields(_status_line(status), head.headers, b"")
        last = b""
        if head.bodiless or status in (204, 304) or (request is not None and request.method == b"HEAD"):
            body = b""
            if head.length is not None and status != 204:
                last = b"content-length: %d\r\n" % head.length
        elif end:
            last = b"content-length: %d\r\n" % len(body)
        elif head.length is not None:
            last = b"content-length: %d\r\n" % head.length
        elif request is None or request.protocol == b"http/1.1":
            self._chunked_out = True
            last = CHUNKED
            body = self.send_data(body)
        else:
            self.must_close = True
        if self.must_close:
            last += CLOSE
        elif request is not None and request.protocol == b"http/1.0":
            last += b"connection: keep-alive\r\n"
        block = render_fields(_status_line(status), head.headers, last)
        return block + body if body else block

    def send_data(self, data: bytes) -> bytes:
        """More of the body."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked_out and data else data

    def send_end(self, trailers: Headers) -> bytes:
        """The end of the body."""
        return _last_chunk(trailers) if self._chunked_out else b""

    def __repr__(self) -> str:
        return f"<ServerCodec {self._reader.shape.name.lower()}{' closing' if self.must_close else ''}>"


class ClientCodec:
    """The client's side of a connection."""

    __slots__ = (
        "_chunked_out",
        "_head",
        "_interim",
        "_keep",
        "_limits",
        "_method",
        "_reader",
        "_scanned",
        "_sent",
        "_upgrade",
    )

    def __init__(self, limits: Limits = RESPONSE_LIMITS) -> None:
        self._limits = limits
        self._reader = BodyReader()
        self._method = b""
        self._chunked_out = False
        self._keep = True
        self._sent = True  # the request is out to its end
        self._upgrade = False
        self._interim = 0
        self._scanned = 0
        self._head: ResponseHead | None = None

    def send_request(self, head: RequestHead, body: bytes = b"", *, end: bool) -> bytes:
        """The head of a request and the first octets of its body; begins a new exchange."""
        self._reader.shape = Shape.HEAD
        method = self._method = head.method
        self._interim = 0
        self._sent = end
        self._chunked_out = False
        self._upgrade = head.upgrade is not None
        last = b""
        if head.length is None:
            if end:
                last = b"content-length: %d\r\n" % len(body)
            else:
                self._chunked_out = True
                last = CHUNKED
                body = self.send_data(body)
        elif head.length or method in _WITH_BODY:
            last = b"content-length: %d\r\n" % head.length
        if head.upgrade is not None:
            last += b"upgrade: %b\r\nconnection: upgrade\r\n" % head.upgrade
        elif (b"te", b"trailers") in head.headers:
            last += b"connection: te\r\n"
        if head.expect_continue and not end:
            last += b"expect: 100-continue\r\n"
        target = head.authority if method == b"CONNECT" else head.target
        first = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, head.authority)
        block = render_fields(first, head.headers, last)
        return block + body if body else block

    def send_data(self, data: bytes) -> bytes:
        """More of the body."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked_out and data else data

    def send_end(self, trailers: Headers) -> bytes:
        """The end of the body."""
        self._sent = True
        return _last_chunk(trailers) if self._chunked_out else b""

    def receive(self, data: bytes) -> None:
        """Take what came from the upstream; empty bytes are its end."""
        self._reader.receive(data)

    def next_event(self) -> ResponseHead | bytes | End | None:
        """What comes next, or None: it is not here yet, or this exchange has been read to its end."""
        if self._reader.shape is Shape.HEAD:
            return self._next_head()
        try:
            return self._reader.next_piece()
        except ProtocolError as error:
            raise error.of_response() from error

    def _next_head(self) -> ResponseHead | None:
        reader = self._reader
        buffer = reader.buffer
        end = buffer.find(b"\r\n\r\n", self._scanned)
        limits = self._limits
        if end < 0:
            self._scanned = max(0, len(buffer) - 3)
            _check_growth(buffer, limits, 502, 502)
            if buffer and not b"HTTP/1.".startswith(buffer[:7]):
                raise ProtocolError(502, "not an HTTP/1 response")
            if reader.eof:
                kind = proxy_errors.HTTP_RESPONSE_INCOMPLETE
                raise ProtocolError(502, "the connection ended within a response head", proxy_error=kind)
            return None
        if end > limits.head:
            raise ProtocolError(
                502, "response header fields too large", proxy_error=proxy_errors.HTTP_RESPONSE_HEADER_SECTION_SIZE
            )
        head, framing = parse_response(buffer[: end + 4], limits, self._method)
        reader.buffer = buffer[end + 4 :]
        self._scanned = 0
        if head.status == 101 and not self._upgrade:
            raise ProtocolError(502, "101 to a request that asked for no upgrade")
        if head.status == 101 or (self._method == b"CONNECT" and 200 <= head.status < 300):
            reader.shape = Shape.TUNNEL
            self._keep = False
        elif head.status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise ProtocolError(502, f"more than {MAX_INTERIM} interim responses")
        else:
            reader.expect(head.length, chunked=framing.chunked, bodiless=head.bodiless)
            self._keep = head.keep_alive and reader.shape is not Shape.UNTIL_CLOSE
        return head

    def take_ready(self) -> tuple[bytes, End | None]:
        """All of the body that is here, and its end if that is here too. Raises ProtocolError."""
        try:
            return self._reader.take_ready()
        except ProtocolError as error:
            raise error.of_response() from error

    def leftover(self) -> bytes:
        """What came behind the head, for whoever takes the connection over."""
        data, self._reader.buffer = self._reader.buffer, b""
        return data

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: both messages whole, nobody closes, and not an octet too many came."""
        reader = self._reader
        return self._sent and self._keep and reader.shape is Shape.DONE and not reader.buffer and not reader.eof

    def __repr__(self) -> str:
        return f"<ClientCodec {self._reader.shape.name.lower()}>"


_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))  # say "no body" by content-length 0 (RFC 9110 section 8.6)


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def _last_chunk(trailers: Headers) -> bytes:
    allowed = allowed_trailers(trailers)
    return render_fields(b"0\r\n", allowed, b"") if allowed else b"0\r\n\r\n"


def _check_growth(buffer: bytes, limits: Limits, line_status: int, head_status: int) -> None:
    """Refuse a head that is not here in full but already has what no head may have."""
    if not buffer:
        return
    # A line or head of exactly the limit may have come without the last octets of what ends it.
    if len(buffer) > limits.line + 1 and buffer.find(b"\r\n", 0, limits.line + 2) < 0:
        raise ProtocolError(line_status, "start line too long")
    if len(buffer) > limits.head + 3:
        raise ProtocolError(
            head_status, "header fields too large", proxy_error=proxy_errors.HTTP_RESPONSE_HEADER_SECTION_SIZE
        )
    try:
        check_partial(buffer)
    except ProtocolError as error:
        raise (error if line_status == 414 else error.of_response()) from error
