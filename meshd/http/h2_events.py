"""What an HTTP/2 session makes of bytes. Every event of a stream names it; those of the connection do not."""

from enum import IntEnum

from meshd.core.errors import ProtocolError
from meshd.core.head import Headers, RequestHead, ResponseHead


class Code(IntEnum):
    """Why a stream or a connection ends (RFC 9113 section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


def code_name(code: int) -> str:
    """The name of an error code, for people; peers may send any number."""
    return _NAMES.get(code) or f"code {code}"


_NAMES = {code.value: code.name for code in Code}


class ConnectionFailed(Exception):
    """What ends a connection from our side; `counter` names the limit that was passed, if one was."""

    def __init__(self, code: int, details: str, counter: str = "") -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.counter = counter


class RequestArrived:
    """A server's: a request began. Its body and its `Ended` follow."""

    __slots__ = ("head", "stream")

    def __init__(self, stream: int, head: RequestHead) -> None:
        self.stream = stream
        self.head = head

    def __repr__(self) -> str:
        return f"<RequestArrived {self.stream} {self.head!r}>"


class RequestRefused:
    """A server's: a request that is HTTP/2 but cannot be served; answer it with `error.status`. `Ended` does not
    follow, and nothing of its body is told.
    """

    __slots__ = ("error", "head", "stream")

    def __init__(self, stream: int, error: ProtocolError, head: RequestHead) -> None:
        self.stream = stream
        self.error = error
        self.head = head  # what can be told of it

    def __repr__(self) -> str:
        return f"<RequestRefused {self.stream} {self.error.status} {self.error.details}>"


class ResponseArrived:
    """A client's: a response began, or an interim one came (status below 200; then another follows)."""

    __slots__ = ("head", "stream")

    def __init__(self, stream: int, head: ResponseHead) -> None:
        self.stream = stream
        self.head = head

    def __repr__(self) -> str:
        return f"<ResponseArrived {self.stream} {self.head!r}>"


class Body:
    """More of the body. Its octets count against the peer's windows until they are acknowledged."""

    __slots__ = ("data", "stream")

    def __init__(self, stream: int, data: bytes) -> None:
        self.stream = stream
        self.data = data

    def __repr__(self) -> str:
        return f"<Body {self.stream} {len(self.data)} octets>"


class Ended:
    """The peer's message is whole; nothing more comes from it on this stream but perhaps a reset."""

    __slots__ = ("stream", "trailers")

    def __init__(self, stream: int, trailers: Headers) -> None:
        self.stream = stream
        self.trailers = trailers

    def __repr__(self) -> str:
        return f"<Ended {self.stream} {len(self.trailers)} trailers>"


class Reset:
    """The stream is over before its time; nothing can be sent on it and nothing more comes.

    `unprocessed` is a promise of the peer that it did nothing with the request, so that any request may be sent
    again: it refused the stream, or went away before it (RFC 9113 section 8.7).
    """

    __slots__ = ("by_peer", "code", "details", "proxy_error", "stream", "unprocessed")

    def __init__(
        self,
        stream: int,
        code: int,
        details: str,
        *,
        by_peer: bool,
        unprocessed: bool = False,
        proxy_error: str = "",  # of what the peer sent, when that was it
    ) -> None:
        self.stream = stream
        self.code = code
        self.details = details
        self.by_peer = by_peer
        self.unprocessed = unprocessed
        self.proxy_error = proxy_error

    def __repr__(self) -> str:
        who = "peer" if self.by_peer else "us"
        return f"<Reset {self.stream} {code_name(self.code)} by {who}{' unprocessed' if self.unprocessed else ''}>"


class WindowOpened:
    """There is room to send again: on one stream, or on all of them (stream 0)."""

    __slots__ = ("stream",)

    def __init__(self, stream: int) -> None:
        self.stream = stream

    def __repr__(self) -> str:
        return f"<WindowOpened {self.stream}>"


class GoneAway:
    """The peer takes no stream above `last`; those it had of ours came as unprocessed resets just before this."""

    __slots__ = ("code", "details", "last")

    def __init__(self, last: int, code: int, details: str) -> None:
        self.last = last
        self.code = code
        self.details = details

    def __repr__(self) -> str:
        return f"<GoneAway after {self.last} {code_name(self.code)} {self.details!r}>"


class SettingsChanged:
    """The peer's settings took effect; `streams` is how many it lets us have open at a time."""

    __slots__ = ("streams",)

    def __init__(self, streams: int) -> None:
        self.streams = streams

    def __repr__(self) -> str:
        return f"<SettingsChanged {self.streams} streams>"


class PingAcked:
    """The peer answered a ping of ours."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __repr__(self) -> str:
        return f"<PingAcked {self.payload.hex()}>"


class Closed:
    """The last event of a session: the connection is of no more use. Its open streams came as resets just before.

    Send what `data_to_send` still has (the GOAWAY that says why), then close. `counter` names the limit that a flood
    ran into, "" for other errors and for the peer's own end.
    """

    __slots__ = ("code", "counter", "details")

    def __init__(self, code: int, details: str, counter: str = "") -> None:
        self.code = code
        self.details = details
        self.counter = counter

    def __repr__(self) -> str:
        return f"<Closed {code_name(self.code)} {self.details!r}>"


Event = (
    RequestArrived
    | RequestRefused
    | ResponseArrived
    | Body
    | Ended
    | Reset
    | WindowOpened
    | GoneAway
    | SettingsChanged
    | PingAcked
    | Closed
)
