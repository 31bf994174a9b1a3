"""Opening a connection to an endpoint: name, TCP, TLS, each failure told apart."""

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Final

from meshd.core import flags, proxy_errors
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.errors import Resend, UpstreamError
from meshd.net import wait
from meshd.net.race import NobodyAnswered, Race, connect, open_socket, reason_of
from meshd.net.resolver import Resolver
from meshd.net.sockets import EXHAUSTED
from meshd.net.stream import PlainStream, Stream
from meshd.net.sweep import SocketDeadline, Sweeper
from meshd.net.tls import HTTP1, HandshakeFailed, TlsIdentity

# What the system says when there is no connection, where it is not that nobody listens. Used-up ports and descriptors
# are our own trouble.
KINDS: Final = {
    errno.EHOSTUNREACH: proxy_errors.DESTINATION_IP_UNROUTABLE,
    errno.ENETUNREACH: proxy_errors.DESTINATION_IP_UNROUTABLE,
    errno.EHOSTDOWN: proxy_errors.DESTINATION_IP_UNROUTABLE,
    errno.EAFNOSUPPORT: proxy_errors.DESTINATION_IP_UNROUTABLE,
    errno.EACCES: proxy_errors.DESTINATION_IP_PROHIBITED,
    errno.EPERM: proxy_errors.DESTINATION_IP_PROHIBITED,
    errno.EADDRNOTAVAIL: proxy_errors.PROXY_INTERNAL_ERROR,
    errno.EMFILE: proxy_errors.PROXY_INTERNAL_ERROR,
    errno.ENFILE: proxy_errors.PROXY_INTERNAL_ERROR,
}


class Dialler:
    """Dials with one worker's identity, which may be replaced at any time, and one time limit, handshake included."""

    __slots__ = ("identity", "resolver", "shortage", "sweeper", "timeout")

    def __init__(
        self,
        sweeper: Sweeper,
        identity: TlsIdentity | None,
        timeout: float = 1.0,
        resolver: Resolver | None = None,
    ) -> None:
        self.sweeper = sweeper
        self.resolver = resolver or Resolver()
        self.identity = identity
        self.timeout = timeout  # seconds
        self.shortage: Callable[[], None] | None = None  # called when there are no descriptors left, to have some freed

    async def dial(
        self, endpoint: Endpoint, within: float | None = None, offer: tuple[bytes, ...] = (HTTP1,)
    ) -> Stream:
        """A stream to the endpoint, its identity verified, one of the offered protocols agreed on if it is TLS.

        Raises `UpstreamError`, safe to try again: nothing was sent.
        """
        limit = SocketDeadline(wait.now() + (self.timeout if within is None else within))
        self.sweeper.add(limit)
        try:
            sock = await self._connect_somehow(endpoint, limit)
            if endpoint.tls is Tls.PLAIN:
                return PlainStream(sock)
            if self.identity is None:
                wait.close(sock)
                raise _failed(
                    "the endpoint wants mutual TLS and this sidecar has no certificates",
                    proxy_errors.PROXY_CONFIGURATION_ERROR,
                )
            handshake = await self.identity.connect(sock, endpoint.server_name, endpoint.identities, offer)
        except HandshakeFailed as error:
            if limit.overdue:
                raise _failed("TLS handshake timed out", proxy_errors.CONNECTION_TIMEOUT, 504) from error
            kind = proxy_errors.TLS_CERTIFICATE_ERROR if error.certificate else proxy_errors.TLS_PROTOCOL_ERROR
            raise _failed(f"TLS handshake with {endpoint.name}: {error}", kind) from error
        except OSError as error:
            raise refusal(endpoint, error) from error
        except wait.Closed as error:
            raise _failed(f"connection to {endpoint.name} timed out", proxy_errors.CONNECTION_TIMEOUT, 504) from error
        finally:
            self.sweeper.discard(limit)
        return handshake.stream

    async def _connect_somehow(self, endpoint: Endpoint, limit: SocketDeadline) -> socket.socket:
        """A connection; where descriptors have run out, once more after some were freed."""
        try:
            return await self._connect(endpoint, limit)
        except OSError as error:
            if error.errno not in EXHAUSTED or self.shortage is None:
                raise
        self.shortage()
        return await self._connect(endpoint, limit)

    async def _connect(self, endpoint: Endpoint, limit: SocketDeadline) -> socket.socket:
        """To the one address there is, or to whichever of a name's answers first."""
        host = endpoint.host or endpoint.address
        if host.startswith("/"):
            return await _connect_to(host, 0, limit)
        try:
            addresses: Sequence[str] = await self.resolver.addresses(host)
        except OSError as error:
            late = error.errno == errno.ETIMEDOUT
            status, kind = (504, proxy_errors.DNS_TIMEOUT) if late else (502, proxy_errors.DNS_ERROR)
            raise _failed(f"no address for {host}: {error.strerror}", kind, status, flag=flags.DNS_FAILED) from error
        if len(addresses) == 1:
            return await _connect_to(addresses[0], endpoint.port, limit)
        resolver = self.resolver
        addresses = resolver.order(host, addresses, endpoint.address)
        race = Race(addresses, endpoint.port, limit)
        try:
            sock, losers = await race.run()
        except NobodyAnswered:
            for address in addresses:
                resolver.failed(address)
            raise
        for address in losers:
            resolver.failed(address)
        resolver.answered(race.winner)
        return sock


async def _connect_to(address: str, port: int, limit: SocketDeadline) -> socket.socket:
    sock = open_socket(address)
    limit.watch(sock)
    await connect(sock, address, port)
    return sock


def refusal(endpoint: Endpoint, error: OSError) -> UpstreamError:
    """Why the system gave no connection. Of a name with several addresses each is told."""
    reason = str(error.strerror) if isinstance(error, NobodyAnswered) else reason_of(error)
    if error.errno in {errno.ETIMEDOUT, errno.EBADF}:
        text = f": {reason}" if isinstance(error, NobodyAnswered) else f" {reason}"
        return _failed(f"connection to {endpoint.name}{text}", proxy_errors.CONNECTION_TIMEOUT, 504)
    kind = KINDS.get(error.errno or 0, proxy_errors.CONNECTION_REFUSED)
    status = 503 if kind == proxy_errors.PROXY_INTERNAL_ERROR else 502
    return _failed(f"connection to {endpoint.name}: {reason}", kind, status)


def _failed(
    details: str, proxy_error: str, status: int = 502, *, flag: str = flags.CONNECTION_FAILURE
) -> UpstreamError:
    return UpstreamError(status, flag, details, retry=Resend.UNSENT, proxy_error=proxy_error)
