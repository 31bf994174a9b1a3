"""From an endpoint to a pooled connection: dial, then speak the endpoint's protocol."""

from meshd.core.endpoint import Endpoint
from meshd.net import wait
from meshd.net.dial import Dialler
from meshd.upstream.http1 import Http1Connection


class Connector:
    """What a cluster's pools call to get a connection. Raises `UpstreamError`."""

    __slots__ = ("dialler", "timeout")

    def __init__(self, dialler: Dialler, timeout: float) -> None:
        self.dialler = dialler
        self.timeout = timeout  # seconds, TLS included

    async def __call__(self, endpoint: Endpoint) -> Http1Connection:
        """A connection, its peer verified. Raises `UpstreamError`."""
        return Http1Connection(await self.dialler.dial(endpoint, self.timeout), wait.now())

    def __repr__(self) -> str:
        return f"<Connector within {self.timeout} s>"
