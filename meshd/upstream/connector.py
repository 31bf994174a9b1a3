"""From an endpoint to a pooled connection: dial, then speak the endpoint's protocol."""

from meshd.core.endpoint import Endpoint, Tls
from meshd.http.limits import RESPONSE_LIMITS, Limits
from meshd.net import wait
from meshd.net.dial import Dialler
from meshd.net.stream import TlsStream
from meshd.net.tls import H2, HTTP1
from meshd.upstream.connection import Connection
from meshd.upstream.http1 import Http1Connection
from meshd.upstream.http2 import Http2Connection


class Connector:
    """What a cluster's pools call to get a connection. Raises `UpstreamError`."""

    __slots__ = ("dialler", "heads", "quick_ack", "timeout")

    def __init__(
        self, dialler: Dialler, timeout: float, *, quick_ack: bool | None = None, heads: Limits = RESPONSE_LIMITS
    ) -> None:
        self.dialler = dialler
        self.heads = heads  # of responses
        self.quick_ack = quick_ack  # None: where there is no TLS, for there an app may answer and no sidecar
        self.timeout = timeout  # seconds, TLS and the server's first word of HTTP/2 included

    async def __call__(self, endpoint: Endpoint, *, http2: bool = False) -> Connection:
        """A connection, its peer verified. Raises `UpstreamError`.

        With `http2` one that speaks HTTP/2, unless the endpoint speaks TLS and chose HTTP/1.1. Without TLS there is
        nothing to choose by: HTTP/2 is spoken with prior knowledge (RFC 9113 section 3.3).
        """
        deadline = wait.now() + self.timeout
        stream = await self.dialler.dial(endpoint, self.timeout, (H2, HTTP1) if http2 else (HTTP1,))
        stream.quick_ack = endpoint.tls is Tls.PLAIN if self.quick_ack is None else self.quick_ack
        if not http2:
            return Http1Connection(stream, wait.now(), self.heads)
        if isinstance(stream, TlsStream) and stream.protocol != H2:
            return Http1Connection(stream, wait.now(), self.heads)
        connection = Http2Connection(stream, wait.now(), self.dialler.sweeper, self.heads)
        await connection.start(deadline)
        return connection

    def __repr__(self) -> str:
        return f"<Connector within {self.timeout} s>"
