"""Bytes over one connection, plain or TLS, with the same few methods.

Theory of operation: a stream owns a non-blocking socket. Rule 1: `receive` waits before it reads, because after a write
there is never anything to read yet; `send` writes first and waits only when the kernel is full. Rule 2: `abort` may be
called from any task: it closes the socket, and whoever waits on it is woken with `StreamBroken(reason)`. Rule 3: one
reader and one writer at a time. Errors of the socket and of OpenSSL become `StreamBroken` here and nowhere else.
"""

import select
import socket

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from meshd.core.errors import StreamBroken
from meshd.core.tls_session import TlsSession
from meshd.identity.credentials import Credentials
from meshd.identity.peer import PeerIdentity
from meshd.net import wait
from meshd.net.byte_stream import Bytes, Stream
from meshd.net.ends import has_hung_up, is_orphan, look
from meshd.net.sockets import acknowledge
from meshd.net.tls_errors import alert_of, describe

__all__ = ["CHUNK", "PlainStream", "Stream", "TlsStream", "identity_of", "session_of"]

CHUNK = 81920  # octets collected at most by one `receive`: a body of 64 KiB and its head come in one
RECORD = 16384  # the most that one TLS record holds (RFC 8446 section 5.1)
# Where octets arrive, one read at a time, before they are copied out as what there is: asking for a new object of the
# largest size at every read costs more than the copy.
_BUFFER = memoryview(bytearray(CHUNK))
_INCOMING = ffi.from_buffer(_BUFFER)


class PlainStream:
    """TCP or a unix socket as it is."""

    __slots__ = ("_reason", "alert", "fd", "quick_ack", "sock")

    def __init__(self, sock: socket.socket, *, quick_ack: bool = False) -> None:
        self.sock = sock
        self.alert = ""
        self.quick_ack = quick_ack
        self.fd = sock.fileno()
        self._reason = "closed"

    async def receive(self) -> bytes:
        if self.fd < 0:
            raise StreamBroken(self._reason)
        try:
            while True:
                await wait.readable(self.fd)
                try:
                    size = self.sock.recv_into(_BUFFER)
                    return bytes(_BUFFER[:size])
                except BlockingIOError:
                    continue
        except (OSError, wait.Closed) as error:
            raise self._broken(error) from error

    async def send(self, data: Bytes) -> None:
        try:
            sent = self.sock.send(data)
            if sent == len(data):
                return
            rest = memoryview(data)[sent:]
        except BlockingIOError:
            rest = memoryview(data)
        except OSError as error:
            raise self._broken(error, unsent=True) from error
        await self._send_rest(rest)

    async def _send_rest(self, rest: memoryview) -> None:
        try:
            while rest:
                await wait.writable(self.fd)
                try:
                    rest = rest[self.sock.send(rest) :]
                except BlockingIOError:
                    continue
        except (OSError, wait.Closed) as error:
            raise self._broken(error) from error

    async def send_eof(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._broken(error) from error

    def acknowledge(self) -> None:
        if self.quick_ack:
            acknowledge(self.sock)

    def is_gone(self) -> bool:
        return has_hung_up(self.fd)

    def has_left(self) -> bool:
        ended = look(self.fd, select.POLLRDHUP)
        return ended != 0 and (ended != select.POLLRDHUP or is_orphan(self.sock))

    def has_news(self) -> bool:
        return bool(look(self.fd, select.POLLIN | select.POLLRDHUP))

    def is_quiet(self) -> bool:
        return wait.is_quiet(self.fd)

    def is_stale(self) -> bool:
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        if self.fd >= 0:
            self.fd = -1
            wait.close(self.sock)

    def interrupt(self, reason: str) -> None:
        if self.fd >= 0:
            self._reason = reason
            wait.interrupt(self.sock)

    def abort(self, reason: str) -> None:
        if self.fd >= 0:
            self._reason = reason
            self.close()

    def _broken(self, error: Exception, *, unsent: bool = False) -> StreamBroken:
        if self.fd < 0 or isinstance(error, wait.Closed):
            return StreamBroken(self._reason, unsent=unsent)
        return StreamBroken(describe(error), unsent=unsent)

    def __repr__(self) -> str:
        return f"<PlainStream fd {self.fd}>"


class TlsStream:
    """A finished handshake over a socket that OpenSSL reads and writes itself.

    Giving OpenSSL the descriptor costs half of what memory BIOs cost. Its read-ahead stays off, so that nothing but a
    partly read record is ever held outside the kernel, and waiting for readability is right after a full read.
    Reading and writing call the library and not pyOpenSSL's methods, which allocate a buffer and run five checks a
    call; whatever does not simply succeed goes through those methods' own judge.
    """

    __slots__ = (
        "_reason",
        "_seen",
        "_ssl",
        "alert",
        "connection",
        "credentials",
        "fd",
        "identity",
        "quick_ack",
        "session",
        "sock",
    )

    def __init__(
        self,
        sock: socket.socket,
        connection: SSL.Connection,
        identity: PeerIdentity | None = None,
        session: TlsSession | None = None,
    ) -> None:
        self.sock = sock
        self.identity = identity  # what the peer proved
        self.session = session  # that, and what was agreed on, for those who tell of it
        self.quick_ack = False
        self.credentials: Credentials | None = None  # ours
        self.alert = ""  # that the peer has sent, in the words of RFC 8446 section 6
        self.connection = connection
        self.fd = sock.fileno()
        self._ssl = connection._ssl  # noqa: SLF001  # alive as long as `connection`
        self._reason = "closed"
        self._seen: Exception | None = None  # an end met while collecting; OpenSSL tells it only once

    @property
    def protocol(self) -> bytes:
        """What was agreed on by ALPN; empty for nothing."""
        return self.connection.get_alpn_proto_negotiated()

    async def receive(self) -> bytes:
        if self.fd < 0:
            raise StreamBroken(self._reason)
        ssl = self._ssl
        try:
            if self._seen is not None:
                raise self._seen
            if not lib.SSL_pending(ssl):
                await wait.readable(self.fd)
            while (size := lib.SSL_read(ssl, _INCOMING, RECORD)) <= 0:
                try:
                    self._raise(size)
                except SSL.WantReadError:
                    await wait.readable(self.fd)
                except SSL.WantWriteError:
                    await wait.writable(self.fd)
        except SSL.ZeroReturnError:
            return b""
        except (OSError, SSL.Error, wait.Closed) as error:
            raise self._broken(error) from error
        if size > RECORD // 2:
            size = self._collect(size)
        return bytes(_BUFFER[:size])

    def _collect(self, size: int) -> int:
        """After a full record more are probably there: take them without waiting, so that they leave in one write."""
        try:
            while size <= CHUNK - RECORD:
                more = lib.SSL_read(self._ssl, _INCOMING + size, RECORD)
                if more <= 0:
                    self._raise(more)
                size += more
        except (SSL.WantReadError, SSL.WantWriteError):
            pass  # nothing more now
        except (SSL.Error, OSError) as error:
            self._seen = error
        return size

    def _raise(self, result: int) -> None:
        self.connection._raise_ssl_error(self._ssl, result)  # noqa: SLF001
        raise AssertionError(f"OpenSSL returned {result} and calls it a success")

    async def send(self, data: Bytes) -> None:
        if self.fd < 0:  # OpenSSL holds the bare number, which may be another connection's by now
            raise StreamBroken(self._reason, unsent=True)
        try:
            sent = self._write(data)
            if sent == len(data):
                return
            rest = memoryview(data)[sent:]
        except (SSL.WantWriteError, SSL.WantReadError):
            rest = memoryview(data)
        except (OSError, SSL.Error) as error:
            raise self._broken(error, unsent=True) from error
        await self._send_rest(rest)

    def _write(self, data: Bytes) -> int:
        raw = data if type(data) is bytes else ffi.from_buffer(data)
        sent: int = lib.SSL_write(self._ssl, raw, len(data))
        if sent <= 0:
            self._raise(sent)
        return sent

    async def _send_rest(self, rest: memoryview) -> None:
        try:
            while rest:
                try:
                    rest = rest[self._write(rest) :]
                except SSL.WantWriteError:
                    await wait.writable(self.fd)
                    if look(self.fd, 0):  # reset: what it said before is read as long as no write has failed
                        raise StreamBroken("connection reset") from None
                except SSL.WantReadError:
                    await wait.readable(self.fd)
        except (OSError, SSL.Error, wait.Closed) as error:
            raise self._broken(error) from error

    async def send_eof(self) -> None:
        if self.fd < 0:
            raise StreamBroken(self._reason)
        try:
            while True:
                try:
                    self.connection.shutdown()
                    return
                except SSL.WantWriteError:  # the kernel is still full of what was sent before
                    await wait.writable(self.fd)
        except (OSError, SSL.Error, wait.Closed) as error:
            raise self._broken(error) from error

    def acknowledge(self) -> None:
        if self.quick_ack:
            acknowledge(self.sock)

    def is_gone(self) -> bool:
        return has_hung_up(self.fd)

    def has_left(self) -> bool:
        ended = look(self.fd, select.POLLRDHUP)
        return ended != 0 and (ended != select.POLLRDHUP or self._is_cut() or is_orphan(self.sock))

    def _is_cut(self) -> bool:
        """Whether a peer that has sent FIN broke off: without close_notify, which ends one direction in good order
        (RFC 8446 section 6.1), as sidecars do that want no answer any more. Octets that wait are looked at first."""
        try:
            self.connection.recv(1, socket.MSG_PEEK)
        except SSL.ZeroReturnError:
            return False
        except (SSL.Error, OSError):
            return True
        return False

    def has_news(self) -> bool:
        return bool(look(self.fd, select.POLLIN | select.POLLRDHUP))

    def is_quiet(self) -> bool:
        return wait.is_quiet(self.fd)

    def is_stale(self) -> bool:
        try:
            if not self.sock.recv(1, socket.MSG_PEEK):
                return True
        except BlockingIOError:
            return False
        except OSError:
            return True
        # Bytes are there: a session ticket or a key update is fine, data or an alert is not.
        try:
            self.connection.recv(1)
        except SSL.WantReadError:
            return False
        except (SSL.Error, OSError) as error:
            self.alert = self.alert or alert_of(error)
            return True
        return True

    def close(self) -> None:
        if self.fd >= 0:
            try:
                self.connection.shutdown()
            except (SSL.Error, OSError):
                pass  # the peer may be gone already
            self._drop()

    def interrupt(self, reason: str) -> None:
        if self.fd >= 0:
            self._reason = reason
            wait.interrupt(self.sock)

    def abort(self, reason: str) -> None:
        if self.fd >= 0:
            self._reason = reason
            self._drop()

    def _drop(self) -> None:
        self.fd = -1
        wait.close(self.sock)

    def _broken(self, error: Exception, *, unsent: bool = False) -> StreamBroken:
        if self.fd < 0 or isinstance(error, wait.Closed):
            return StreamBroken(self._reason, unsent=unsent)
        if not isinstance(error, SSL.Error) or isinstance(error, SSL.SysCallError):
            error = self._last_word() or error
        self.alert = self.alert or alert_of(error)
        return StreamBroken(describe(error), unsent=unsent, alert=self.alert)

    def _last_word(self) -> Exception | None:
        """What a peer that has gone said before: an alert may wait unread behind a reset."""
        try:
            self.connection.recv(1)
        except (SSL.Error, OSError) as error:
            return error if alert_of(error) else None
        return None

    def __repr__(self) -> str:
        return f"<TlsStream fd {self.fd} {self.connection.get_cipher_name()}>"


def identity_of(stream: Stream) -> PeerIdentity | None:
    """What the other end proved; None without TLS."""
    return stream.identity if isinstance(stream, TlsStream) else None


def session_of(stream: Stream) -> TlsSession | None:
    """What the handshake showed; None without TLS."""
    return stream.session if isinstance(stream, TlsStream) else None
