"""What a pool needs to know of a connection, and an exchange of its carrier, whatever protocol they speak."""

from typing import Protocol

from meshd.core.errors import UpstreamError
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.core.tls_session import TlsSession
from meshd.http.events import End
from meshd.identity.peer import PeerIdentity
from meshd.net.stream import Stream


class Carrier(Protocol):
    """One exchange on a connection: the connection itself for HTTP/1.1, one of its streams for HTTP/2.

    Everything that waits raises `UpstreamError`.
    """

    @property
    def stream(self) -> Stream:
        """The bare bytes of it, once a protocol was switched."""

    async def send_request(self, head: RequestHead, body: bytes, *, end: bool) -> None:
        """Write the head and the first octets of the body in one go."""

    async def send(self, data: bytes) -> None:
        """Write more of the body, as fast as the peer takes it."""

    async def finish(self, trailers: Headers) -> None:
        """End the body."""

    async def read_head(self) -> ResponseHead:
        """The next response head, interim ones included."""

    def take_ready(self) -> tuple[bytes, End | None]:
        """All of the body that is here already, and its end if that is here too."""

    async def read_body(self) -> bytes | End:
        """The next piece of body, or its end."""

    def leftover(self) -> bytes:
        """What came behind the head of a switched protocol."""

    def abort(self, reason: str) -> None:
        """End the exchange where it stands and wake whoever waits on it."""

    def done(self, *, whole: bool) -> bool:
        """The exchange is over; `whole`: its request was sent to the end and its response read to the end, as far as
        the caller knows. Whether the connection may carry another."""


class Connection(Protocol):
    """One connection to an endpoint. Monotonic seconds."""

    born: float
    idle_since: float
    uses: int  # exchanges it has carried
    protocol: bytes  # b"http/1.1" or b"h2"
    tls: TlsSession | None  # what its handshake showed; None without TLS

    @property
    def refusal(self) -> UpstreamError | None:
        """That the peer refused us when our side of the handshake was done already; None when it did not."""

    @property
    def streams(self) -> int:
        """How many exchanges it may carry at the same time: one for HTTP/1.1."""

    def open(self) -> Carrier:
        """Begin an exchange on it."""

    def has_room(self, leases: int) -> bool:
        """Whether a connection that carries so many exchanges takes another now; not when its peer is going away."""

    def is_stale(self) -> bool:
        """Whether it has ended, or said something unasked, while idle. One cheap system call."""

    def is_gone(self) -> bool:
        """Whether its peer has closed or reset it, even while bytes of it wait unread. One cheap system call."""

    def is_quiet(self) -> bool:
        """Whether it is known not to be stale, as of the last turn of the event loop. No system call."""

    @property
    def identity(self) -> PeerIdentity | None:
        """What its peer proved; None without TLS."""

    def close(self) -> None:
        """Close it at once."""
