"""An app with its own TLS, as the other sidecar: it shows the certificate it is given and records what it is told."""

import contextlib
import socket
import ssl
import threading
from typing import Self

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class TlsPeer:
    """`with TlsPeer(context) as peer: peer.address`. Without a context it speaks plain text. `heard` is what clients
    sent once their handshake was over."""

    def __init__(self, context: ssl.SSLContext | None, answer: bytes = ANSWER, *, breaks_off: bool = False) -> None:
        self.heard = b""
        self._context = context
        self._answer = answer
        self._breaks_off = breaks_off  # ends the TCP connection after its answer, without a word in TLS
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        wire = sock
        try:
            sock.settimeout(20)
            if self._context is not None:
                wire = self._wrap(sock)
            while data := wire.recv(65536):
                self.heard += data
                wire.sendall(self._answer)
                if self._breaks_off:
                    break
        except OSError:
            pass  # refused, or gone
        finally:
            with self._lock:
                self._open.discard(sock)
            wire.close()

    def _wrap(self, sock: socket.socket) -> socket.socket:
        assert self._context is not None
        try:
            return self._context.wrap_socket(sock, server_side=True)
        except OSError:
            sock.close()
            raise
