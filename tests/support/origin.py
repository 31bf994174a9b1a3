"""An app to put behind a sidecar: a real HTTP/1.1 server on threads that records every octet and does as told."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Recorded:
    """One request as it arrived."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool
    raw: bytes
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return ",".join(found) if found else None


class Hangup(Exception):
    """Raised by a behaviour to drop the connection."""


class Reset(Exception):
    """Raised by a behaviour to drop the connection with RST."""


class Wire:
    """A connection as behaviours see it: exact reads, raw writes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.seen = b""

    def more(self) -> bool:
        data = self.sock.recv(65536)
        self.buffer += data
        self.seen += data
        return bool(data)

    def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self.more():
                raise EOFError
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            if not self.more():
                raise EOFError
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data


def ok(body: bytes = b"ok", *extra: bytes) -> bytes:
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *extra]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


Behaviour = Callable[[Wire, Recorded], None]


def always_ok(wire: Wire, request: Recorded) -> None:
    wire.sock.sendall(ok(b"" if request.method == "HEAD" else b"ok"))


class Origin:
    """`with Origin() as origin: origin.address`. `behave` is called for each request whose head is complete and body
    read; `on_head` (if set) before the body is read."""

    def __init__(self, behave: Behaviour = always_ok, host: str = "127.0.0.1", port: int = 0) -> None:
        self.behave = behave
        self.on_head: Behaviour | None = None
        self.on_accept: Callable[[socket.socket], None] | None = None
        self.requests: list[Recorded] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((host, port), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.address = f"{host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Close every open connection, as a restarting app does."""
        with self._lock:
            for sock in list(self._open):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def take(self) -> list[Recorded]:
        with self._lock:
            taken, self.requests = self.requests, []
        return taken

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self.connections += 1
            self._open.add(sock)
        wire = Wire(sock)
        try:
            if self.on_accept is not None:
                self.on_accept(sock)
            while self._one(wire):
                pass
        except (OSError, EOFError, ValueError, Hangup):
            pass  # whoever sent what cannot be read finds it in `Recorded.raw`
        except Reset:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _one(self, wire: Wire) -> bool:
        wire.seen = wire.buffer
        if not wire.buffer and not wire.more():
            return False
        request = Recorded("", "", "", [], b"", complete=False, raw=b"")
        with self._lock:
            self.requests.append(request)
        try:
            self._read(wire, request)
        finally:
            request.raw = wire.seen[: len(wire.seen) - len(wire.buffer)]
        self.behave(wire, request)
        return (request.header("connection") or "").lower() != "close"

    def _read(self, wire: Wire, request: Recorded) -> None:
        request.method, request.target, request.version = wire.line().decode("latin-1").split(" ", 2)
        request.headers = _fields(wire)
        if self.on_head is not None:
            self.on_head(wire, request)
        if request.header("transfer-encoding"):
            while size := int(wire.line().split(b";")[0], 16):
                request.body += wire.exactly(size)
                assert wire.exactly(2) == b"\r\n"
            request.trailers = _fields(wire)
        elif length := int(request.header("content-length") or 0):
            request.body = wire.exactly(length)
        request.complete = True


def _fields(wire: Wire) -> list[tuple[str, str]]:
    found = []
    while line := wire.line():
        name, _, value = line.decode("latin-1").partition(":")
        found.append((name, value.strip()))
    return found
