"""Opening a connection to an endpoint: name, TCP, TLS, each failure told apart."""

import errno
import os
import socket
from typing import Final

import trio

from meshd.core import flags, proxy_errors
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.errors import Resend, UpstreamError
from meshd.net import wait
from meshd.net.sockets import tune
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

    __slots__ = ("identity", "sweeper", "timeout")

    def __init__(self, sweeper: Sweeper, identity: TlsIdentity | None, timeout: float = 1.0) -> None:
        self.sweeper = sweeper
        self.identity = identity
        self.timeout = timeout  # seconds

    async def dial(
        self, endpoint: Endpoint, within: float | None = None, offer: tuple[bytes, ...] = (HTTP1,)
    ) -> Stream:
        """A stream to the endpoint, its identity verified, one of the offered protocols agreed on if it is TLS.

        Raises `UpstreamError`, safe to try again: nothing was sent.
        """
        limit = SocketDeadline(wait.now() + (self.timeout if within is None else within))
        self.sweeper.add(limit)
        try:
            sock = await _connect(endpoint, limit)
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


async def _connect(endpoint: Endpoint, limit: SocketDeadline) -> socket.socket:
    address: str | tuple[str, int]
    if endpoint.address.startswith("/"):
        family, address = socket.AF_UNIX, endpoint.address
    else:
        family, address = await _resolve(endpoint)
    sock = limit.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        wait.opened(sock)
        tune(sock)
        error = sock.connect_ex(address)
        if error == errno.EINPROGRESS:
            error = await _connected(sock)
        if error:
            raise OSError(error, os.strerror(error))  # noqa: TRY301  # told of like what connect() itself raises
    except BaseException:
        wait.close(sock)
        raise
    return sock


async def _connected(sock: socket.socket) -> int:
    """Wait for the connection; the error number that it ended with, 0 for none. A wake-up may be spurious."""
    while True:
        await wait.writable(sock.fileno())
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            return error
        try:
            sock.getpeername()
        except OSError:
            continue
        return 0


async def _resolve(endpoint: Endpoint) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The family and address of a literal at once; a name is looked up in a thread, so that the loop never blocks."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, endpoint.address)
        except OSError:
            continue
        return family, (endpoint.address, endpoint.port)
    try:
        family, address = await wait.on_trio(_look_up, endpoint)
    except OSError as error:
        kind = proxy_errors.DNS_ERROR
        raise _failed(f"no address for {endpoint.address}: {error.strerror}", kind, flag=flags.DNS_FAILED) from error
    return family, (address, endpoint.port)


async def _look_up(endpoint: Endpoint) -> tuple[socket.AddressFamily, str]:
    found = await trio.socket.getaddrinfo(endpoint.address, endpoint.port, type=socket.SOCK_STREAM)
    family, _, _, _, address = found[0]
    return family, str(address[0])


def refusal(endpoint: Endpoint, error: OSError) -> UpstreamError:
    """Why the system gave no connection."""
    if error.errno in {errno.ETIMEDOUT, errno.EBADF}:
        return _failed(f"connection to {endpoint.name} timed out", proxy_errors.CONNECTION_TIMEOUT, 504)
    reason = errno.errorcode.get(error.errno or 0, str(error))
    words = {"ECONNREFUSED": "refused", "EHOSTUNREACH": "host unreachable", "ENETUNREACH": "network unreachable"}
    kind = KINDS.get(error.errno or 0, proxy_errors.CONNECTION_REFUSED)
    status = 503 if kind == proxy_errors.PROXY_INTERNAL_ERROR else 502
    return _failed(f"connection to {endpoint.name}: {words.get(reason, reason)}", kind, status)


def _failed(
    details: str, proxy_error: str, status: int = 502, *, flag: str = flags.CONNECTION_FAILURE
) -> UpstreamError:
    return UpstreamError(status, flag, details, retry=Resend.UNSENT, proxy_error=proxy_error)
