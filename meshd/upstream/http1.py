"""One HTTP/1.1 connection to an endpoint: a stream, its codec, and the words for how it failed."""

from typing import Final

from meshd.core import flags
from meshd.core.errors import ProtocolError, Resend, StreamBroken, UpstreamError
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.http.events import End
from meshd.http.h1 import ClientCodec
from meshd.http.limits import RESPONSE_LIMITS, Limits
from meshd.identity.peer import PeerIdentity
from meshd.net import wait
from meshd.net.stream import Stream, identity_of, session_of
from meshd.net.verify import alert_in
from meshd.upstream.refusal import refused


class Http1Connection:
    """Carries one exchange at a time; pooled between them."""

    __slots__ = ("born", "codec", "idle_since", "refusal", "responding", "stream", "tls", "uses")

    streams: Final = 1  # exchanges at the same time
    protocol: bytes = b"http/1.1"

    def __init__(self, stream: Stream, born: float, heads: Limits = RESPONSE_LIMITS) -> None:
        self.stream = stream
        self.tls = session_of(stream)
        self.codec = ClientCodec(heads)
        self.born = born
        self.idle_since = born
        self.uses = 0
        self.refusal: UpstreamError | None = None  # the peer let the handshake end and did not accept us
        self.responding = False  # an octet of the response has come

    def open(self) -> "Http1Connection":
        """Itself: one exchange at a time."""
        return self

    def done(self, *, whole: bool) -> bool:
        """Whether another exchange may follow: `whole`, so was the response, and nothing surplus came."""
        return whole and self.codec.reusable

    async def send_request(self, head: RequestHead, body: bytes, *, end: bool) -> None:
        """Write the head and the first octets of the body in one go."""
        self.responding = False
        try:
            await self.stream.send(self.codec.send_request(head, body, end=end))
        except StreamBroken as error:
            raise self._lost(error, unsent=error.unsent) from error

    async def send(self, data: bytes) -> None:
        """Write more of the body.

        Not to a peer that has ended: it may have answered first, and TLS reads nothing more once a write has failed.
        For the same reason who reads goes first when something has come.
        """
        stream = self.stream
        if stream.has_news():
            if stream.is_gone():
                raise self._lost(StreamBroken("the peer closed the connection"))
            await wait.writable(stream.fd)
        try:
            await stream.send(self.codec.send_data(data))
        except StreamBroken as error:
            raise self._lost(error) from error

    async def finish(self, trailers: Headers) -> None:
        """End the body."""
        data = self.codec.send_end(trailers)
        if data:
            try:
                await self.stream.send(data)
            except StreamBroken as error:
                raise self._lost(error) from error

    async def read_head(self) -> ResponseHead:
        """The next response head, interim ones included."""
        next_event = self.codec.next_event
        try:
            while (event := next_event()) is None:
                await self._receive()
        except ProtocolError as error:
            nonsense = _nonsense(error)
            if self.tls is None and (alert := alert_in(self.codec.leftover())):
                self.refusal = refused(self.stream, alert)
                # Anybody can write these octets in clear, and may have read the request first: it was sent.
                nonsense.details, nonsense.proxy_error = self.refusal.details, self.refusal.proxy_error
                nonsense.alert = alert
            raise nonsense from error
        assert isinstance(event, ResponseHead)  # the codec begins with one
        return event

    def take_ready(self) -> tuple[bytes, End | None]:
        """All of the body that is here already, and its end if that is here too."""
        try:
            return self.codec.take_ready()
        except ProtocolError as error:
            raise _nonsense(error) from error

    async def read_body(self) -> bytes | End:
        """The next piece of body, or its end."""
        next_event = self.codec.next_event
        try:
            while (event := next_event()) is None:
                await self._receive()
        except ProtocolError as error:
            raise _nonsense(error) from error
        assert not isinstance(event, ResponseHead)
        return event

    def leftover(self) -> bytes:
        """What came behind the head of a switched protocol."""
        return self.codec.leftover()

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: both messages are whole and nothing surplus came."""
        return self.codec.reusable

    def has_room(self, leases: int) -> bool:
        """Never: one exchange at a time."""
        return False

    def is_stale(self) -> bool:
        """Whether the peer closed it, or said something unasked, while it was idle."""
        stale = self.stream.is_stale()
        if stale and self.stream.alert and not self.uses:
            self.refusal = refused(self.stream, self.stream.alert)
        return stale

    def is_gone(self) -> bool:
        """Whether the peer closed it, in the middle of an exchange or not."""
        return self.stream.is_gone()

    def is_quiet(self) -> bool:
        """Whether nothing was heard of the peer while it was idle, as of the last turn of the event loop."""
        return self.stream.is_quiet()

    @property
    def identity(self) -> PeerIdentity | None:
        """What the endpoint proved; None without TLS."""
        return identity_of(self.stream)

    def close(self) -> None:
        """Close, telling the peer so."""
        self.stream.close()

    def abort(self, reason: str) -> None:
        """Close and wake whoever waits on it."""
        self.stream.abort(reason)

    async def _receive(self) -> None:
        if self.responding:  # and the response is not whole
            self.stream.acknowledge()
        try:
            data = await self.stream.receive()
        except StreamBroken as error:
            raise self._lost(error) from error
        if data:
            self.responding = True
        elif not self.responding:
            raise self._lost(StreamBroken("the peer closed the connection"))
        self.codec.receive(data)

    def _lost(self, error: StreamBroken, *, unsent: bool = False) -> UpstreamError:
        """How sure we are that the request was not executed decides who may send it again.

        `unsent`: not one octet was written. Only who writes the head can know that; later writes follow what is out.
        """
        if error.alert and not self.uses and not self.responding:
            self.refusal = refused(self.stream, error.alert)
            return self.refusal
        if unsent:
            retry = Resend.UNSENT
        elif self.responding:
            retry = Resend.IF_SAFE
        else:
            retry = Resend.REUSED if self.uses else Resend.IF_SAFE
        when = "after" if self.responding else "before"
        details = f"upstream_reset_{when}_response_started{{{error}}}"
        return UpstreamError(502, flags.CONNECTION_TERMINATION, details, retry=retry)

    def __repr__(self) -> str:
        return f"<Http1Connection {self.stream!r} used {self.uses} times>"


def _nonsense(error: ProtocolError) -> UpstreamError:
    kind = error.proxy_error
    return UpstreamError(502, flags.UPSTREAM_PROTOCOL, error.details, retry=Resend.IF_SAFE, proxy_error=kind)
