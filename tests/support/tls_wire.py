"""A TLS client whose octets can be held back, counted and cut: the handshake in memory, the socket by hand."""

import ctypes
import ctypes.util
import socket
import ssl
from pathlib import Path


def client_hello(context: ssl.SSLContext) -> bytes:
    """The first flight of a client."""
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing)
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake that needs no answer")


def ask_in_pieces(address: str, context: ssl.SSLContext, request: bytes, step: int) -> bytes:
    """What comes back for a request when every octet of the handshake is sent `step` at a time."""
    host, _, port = address.rpartition(":")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing)
    received = b""
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def exchange(call, *arguments):
            while True:
                try:
                    done = call(*arguments)
                except ssl.SSLWantReadError:
                    done = None
                data = outgoing.read()
                for at in range(0, len(data), step):
                    sock.sendall(data[at : at + step])
                if done is not None:
                    return done
                data = sock.recv(65536)
                if not data:
                    raise EOFError
                incoming.write(data)

        try:
            exchange(lambda: session.do_handshake() or True)
            exchange(session.write, request)
            while True:
                received += exchange(session.read, 65536)
                if received.endswith(b"\r\n\r\nok"):
                    return received
        except (OSError, EOFError):
            return received


class KeyUpdates:
    """A client of the system's OpenSSL, for the one call that Python does not offer: `update` sends KeyUpdates."""

    _SET_MINIMUM = 123  # SSL_CTRL_SET_MIN_PROTO_VERSION
    _TLS_1_3 = 0x0304

    def __init__(self, sock: socket.socket, certificate: Path, key: Path) -> None:
        name = ctypes.util.find_library("ssl")
        assert name, "no libssl"
        self._lib = lib = ctypes.CDLL(name)
        for made in (lib.TLS_client_method, lib.SSL_CTX_new, lib.SSL_new):
            made.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        lib.SSL_CTX_ctrl(self._context, self._SET_MINIMUM, ctypes.c_long(self._TLS_1_3), None)
        assert lib.SSL_CTX_use_certificate_chain_file(self._context, str(certificate).encode()) == 1
        assert lib.SSL_CTX_use_PrivateKey_file(self._context, str(key).encode(), 1) == 1
        self._session = ctypes.c_void_p(lib.SSL_new(self._context))
        sock.settimeout(None)
        assert lib.SSL_set_fd(self._session, sock.fileno()) == 1
        assert lib.SSL_connect(self._session) == 1

    def update(self, count: int) -> int:
        """Send so many; how many could be sent."""
        for done in range(count):
            if self._lib.SSL_key_update(self._session, 0) != 1:  # 0: without asking the peer for one
                return done
            if self._lib.SSL_do_handshake(self._session) != 1:
                return done
        return count

    def ask(self, request: bytes) -> bytes:
        """The first octets of the answer to a request; empty when the connection is over."""
        if self._lib.SSL_write(self._session, request, len(request)) <= 0:
            return b""
        buffer = ctypes.create_string_buffer(65536)
        count = self._lib.SSL_read(self._session, buffer, 65536)
        return buffer.raw[: max(count, 0)]

    def close(self) -> None:
        self._lib.SSL_free(self._session)
        self._lib.SSL_CTX_free(self._context)
