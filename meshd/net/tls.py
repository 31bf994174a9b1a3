"""Mutual TLS 1.3 as OpenSSL does it, and after every handshake the checks that OpenSSL leaves to us.

A `TlsIdentity` is what one set of credentials makes: a context to accept with and a context to dial with. It is
replaced whole when certificates change; connections in flight keep the context they began with. Sessions are not
resumed: a resumed session has no verified chain, and a pool that stays warm pays for handshakes only when it grows.
"""

import socket
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from OpenSSL import SSL
from OpenSSL._util import lib
from OpenSSL.crypto import X509

from meshd.core.peer import Peer
from meshd.core.tls_session import TlsSession
from meshd.identity.certificate import IdentityError, PeerIdentity
from meshd.identity.credentials import Credentials
from meshd.net import wait
from meshd.net.stream import TlsStream
from meshd.net.sweep import SocketDeadline
from meshd.net.tls_errors import describe
from meshd.net.verify import Verification, on_verify

# AES-128-GCM first: it is what every processor with AES instructions does fastest. The others for peers that insist.
CIPHERSUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
GROUPS = b"X25519MLKEM768:X25519:P-256"
H2 = b"h2"  # identifiers of ALPN (RFC 7301)
HTTP1 = b"http/1.1"
LINGER_TIME = 1.0  # seconds for a peer that is refused to read why
LINGER_OCTETS = 262_144
UNEXPECTED_MESSAGE = b"\x15\x03\x03\x00\x02\x02\x0a"  # a fatal alert, unprotected (RFC 8446 section 6)
MAX_DEPTH = 5  # certificates between leaf and root; a longer chain is work for nothing

# Missing from pyOpenSSL's names; the values are those of the library itself.
MODES = lib.SSL_MODE_RELEASE_BUFFERS | lib.SSL_MODE_ENABLE_PARTIAL_WRITE | lib.SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER


class Mode(Enum):
    """What an inbound listener asks of its clients (PeerAuthentication)."""

    DISABLE = auto()
    PERMISSIVE = auto()
    STRICT = auto()


class HandshakeFailed(Exception):
    """No session. `code` is stable and short; the text is for people. `certificate` tells whether identity was at
    fault."""

    def __init__(self, code: str, text: str, *, certificate: bool, claimed: str = "") -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.claimed = claimed  # who the peer says it is; nobody has vouched for it
        self.certificate = certificate


@dataclass(frozen=True, slots=True)
class Handshake:
    """A finished handshake: the stream, who is there, and the protocol agreed on."""

    stream: TlsStream
    identity: PeerIdentity
    alpn: bytes


class TlsIdentity:
    """The contexts of one generation of credentials."""

    __slots__ = ("_bundle", "_client", "_server", "credentials")

    def __init__(self, credentials: Credentials, alpn: tuple[bytes, ...] = (H2, HTTP1)) -> None:
        self.credentials = credentials
        self._bundle = credentials.bundle
        self._server = _context(credentials)
        self._client = _context(credentials)

        def choose(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
            for protocol in alpn:
                if protocol in offered:
                    return protocol
            # A sentinel that the stub of `set_alpn_select_callback` leaves out: go on without, the listener decides.
            return SSL.NO_OVERLAPPING_PROTOCOLS  # type: ignore[return-value]

        self._server.set_alpn_select_callback(choose)

    async def accept(self, sock: socket.socket, limit: SocketDeadline | None = None) -> Handshake:
        """Be the server. Raises `HandshakeFailed`; the socket is closed then, after a moment if it has a `limit`."""
        connection = SSL.Connection(self._server, sock)
        connection.set_accept_state()
        return await self._shake(sock, connection, patient=True, limit=limit)

    async def connect(
        self, sock: socket.socket, server_name: str, expected: frozenset[str], offer: tuple[bytes, ...] = (HTTP1,)
    ) -> Handshake:
        """Be the client, `offer` these protocols and demand one of the `expected` SPIFFE IDs (`.../*` means all
        below). Nobody is trusted for being of the mesh alone: where none is expected none will do."""
        connection = SSL.Connection(self._client, sock)
        connection.set_alpn_protos(list(offer))
        if server_name:
            connection.set_tlsext_host_name(server_name.encode("idna"))
        connection.set_connect_state()
        handshake = await self._shake(sock, connection)
        identity = handshake.identity
        if is_expected(identity.uri, expected):
            return handshake
        handshake.stream.close()
        wanted = " or ".join(sorted(expected)) or "nobody: the endpoint names no identity"
        raise HandshakeFailed("wrong-identity", f"the server is {identity.uri}, expected {wanted}", certificate=True)

    def trusts(self, peer: PeerIdentity) -> bool:
        """Whether a peer that was let in before would be let in now: certificate neither expired nor revoked, and
        its authority still trusted. No signature is checked again."""
        try:
            self._bundle.check_again(peer, wait.wall_clock())
        except IdentityError:
            return False
        return True

    @property
    def trust_domain(self) -> str:
        """Of our own identity."""
        return self.credentials.spiffe_id.trust_domain

    async def _shake(
        self,
        sock: socket.socket,
        connection: SSL.Connection,
        *,
        patient: bool = False,
        limit: SocketDeadline | None = None,
    ) -> Handshake:
        """The handshake; if `patient`, each of its steps when everybody else had a turn. With a `limit` on the socket a
        peer that is refused is left a moment to read why."""
        verification = Verification(self._bundle)
        connection.set_app_data(verification)
        try:
            while True:
                try:
                    connection.do_handshake()
                    break
                except SSL.WantReadError:
                    await wait.readable(sock.fileno())
                    if patient:
                        await wait.turn()
                except SSL.WantWriteError:
                    await wait.writable(sock.fileno())
        except (SSL.Error, OSError, wait.Closed) as error:
            if verification.crash is not None:
                _close(sock, connection)
                raise verification.crash from error
            failed = _explain(error, verification)
            if limit is not None and not isinstance(error, wait.Closed):
                limit.deadline = min(limit.deadline, wait.now() + LINGER_TIME)
                if failed.code == "plaintext":
                    _send_alert(sock)
                await linger(sock)
            _close(sock, connection)
            raise failed from error
        except BaseException:
            wait.close(sock)
            raise
        identity = verification.identity
        if identity is None:
            wait.close(sock)
            raise AssertionError("a handshake that nobody judged")
        stream = TlsStream(sock, connection, identity, _session(connection, identity))
        stream.credentials = self.credentials
        return Handshake(stream, identity, stream.protocol)


def _send_alert(sock: socket.socket) -> None:
    """Tell a client that speaks something else what is spoken here; OpenSSL closes without a word."""
    try:
        sock.send(UNEXPECTED_MESSAGE)
    except OSError:
        pass  # it has left


def is_expected(uri: str, expected: Collection[str]) -> bool:
    """Whether a SPIFFE ID is one of these, or below one that ends in `/*`."""
    return uri in expected or any(each.endswith("/*") and uri.startswith(each[:-1]) for each in expected)


def peer_of(sock: socket.socket, handshake: Handshake | None) -> Peer:
    """Who a downstream connection is from; without a handshake it is only an address."""
    address, port = _address(sock.getpeername())
    local, local_port = _address(sock.getsockname())
    if handshake is None:
        return Peer(address, port, local_address=local, local_port=local_port)
    identity, connection = handshake.identity, handshake.stream.connection
    name = connection.get_servername()
    return Peer(
        address,
        port,
        principal=identity.uri.removeprefix("spiffe://").encode(),
        namespace=identity.spiffe_id.namespace.encode(),
        service_account=identity.spiffe_id.service_account.encode(),
        trust_domain=identity.spiffe_id.trust_domain.encode(),
        fingerprint=identity.fingerprint,
        server_name=name.decode("latin-1").lower() if name else "",
        tls=connection.get_protocol_version_name(),
        local_address=local,
        local_port=local_port,
        session=handshake.stream.session,
    )


def _session(connection: SSL.Connection, identity: PeerIdentity) -> TlsSession:
    """What is told of the handshake in spans."""
    leaf = identity.path[0]
    return (
        connection.get_protocol_version_name().removeprefix("TLSv"),
        bool(lib.SSL_session_reused(connection._ssl)),  # noqa: SLF001  # pyOpenSSL has no public call for it
        connection.get_cipher_name() or "",
        connection.get_group_name() or "",
        connection.get_alpn_proto_negotiated().decode("ascii", "replace"),
        identity.uri,
        identity.fingerprint,
        leaf.subject.rfc4514_string(),
        leaf.issuer.rfc4514_string(),
        identity.not_before,
        identity.not_after,
    )


def address_of(sock: socket.socket) -> tuple[str, int]:
    """Address and port of the other end. Raises OSError when it has left."""
    return _address(sock.getpeername())


def _address(name: object) -> tuple[str, int]:
    """Address and port of what getpeername gives: a tuple for IP, a string for a unix socket."""
    if isinstance(name, tuple):
        host = str(name[0])
        return (host.removeprefix("::ffff:")), int(name[1])
    return "unix", 0


def _context(credentials: Credentials) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(CIPHERSUITES)
    _set_groups(context)
    context.set_mode(MODES)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate(credentials.leaf)
    for certificate in credentials.chain:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(credentials.key)
    store = context.get_cert_store()
    if store is None:
        raise AssertionError("a context without a certificate store")
    for root in credentials.bundle.roots:
        store.add_cert(X509.from_cryptography(root))
    mode = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    lib.SSL_CTX_set_verify(context._context, mode, on_verify)  # noqa: SLF001  # pyOpenSSL's own cannot say which alert
    context.set_verify_depth(MAX_DEPTH)
    return context


def _set_groups(context: SSL.Context) -> None:
    """Prefer the hybrid post-quantum group; a library that lacks it keeps its own default."""
    pointer = context._context  # noqa: SLF001  # pyOpenSSL has no public call for groups
    if not lib.SSL_CTX_set1_curves_list(pointer, GROUPS):
        lib.SSL_CTX_set1_curves_list(pointer, b"X25519:P-256")


def _close(sock: socket.socket, connection: SSL.Connection) -> None:
    try:
        connection.shutdown()
    except (SSL.Error, OSError):
        pass  # the session may never have begun
    if sock.fileno() >= 0:
        wait.close(sock)


async def linger(sock: socket.socket) -> None:
    """Let a peer that is refused read why: what it still sends is read and thrown away, or closing would reset the
    connection and the alert with it. Whoever calls has a deadline on the socket."""
    octets = 0
    try:
        sock.shutdown(socket.SHUT_WR)
        while octets < LINGER_OCTETS:
            await wait.readable(sock.fileno())
            data = sock.recv(16384)
            if not data:
                return
            octets += len(data)
    except (OSError, wait.Closed):
        return


def _explain(error: Exception, verification: Verification) -> HandshakeFailed:
    """Which of the many ways a handshake failed."""
    if verification.refusal is not None:
        refusal = verification.refusal
        return HandshakeFailed(refusal.code, str(refusal), certificate=True, claimed=verification.claimed)
    if verification.failures:
        code = verification.failures[0].split(" ", 1)[0]
        text = f"the peer's certificate is not accepted: {verification.failures[0]}"
        return HandshakeFailed(code, text, certificate=True, claimed=verification.claimed)
    if isinstance(error, wait.Closed):
        return HandshakeFailed("timeout", "the handshake took too long", certificate=False)
    text = describe(error) if isinstance(error, SSL.Error) else str(error)
    if "peer did not return a certificate" in text:
        return HandshakeFailed("no-certificate", "the client showed no certificate", certificate=True)
    if "http request" in text or "wrong version number" in text or "record overflow" in text:
        return HandshakeFailed("plaintext", f"the peer does not speak TLS: {text}", certificate=False)
    return HandshakeFailed("tls", text, certificate=False)
