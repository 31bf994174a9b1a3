"""An app that speaks HTTP/2 as raw octets and floods or breaks the rules as told: frames in, frames out, no library."""

import contextlib
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from hpack import Decoder
from support.h2_flooder import Flooder
from support.http2 import SETTINGS, SETTINGS_ACK, frames

from meshd.http.h2_events import Code
from meshd.http.h2_frames import ACK, END_HEADERS, END_STREAM, PREFACE, Kind, frame, reset_frame, window_update

HEADER = 9
OK = frame(Kind.HEADERS, END_HEADERS, 0, b"\x88")  # :status 200, of the static table
LARGE = 2**24


@dataclass(frozen=True)
class Script:
    """What connections do instead of serving well."""

    steps: tuple[tuple[str, object], ...] = ()  # as `expand_flood` makes them, of a server
    early: bool = False  # as soon as the connection is there, and not behind the first request
    once: bool = False  # on one connection; later ones serve well
    serves: bool = False  # it goes on serving afterwards, the first request too
    opens: bool = True  # it gives window back for what it reads
    pause: float = 0.0  # seconds before each answer
    streams: int = 0  # more than so many open together are refused, as a server may that has just said so


def as_server(steps):
    """Steps of a case as a server plays them: they begin with a client's preface."""
    for kind, value in steps:
        yield kind, value.removeprefix(PREFACE) if kind == "send" else value


@dataclass
class Heard:
    """What arrived on one connection."""

    requests: list[str] = field(default_factory=list)  # paths
    octets: int = 0  # of bodies
    most: int = 0  # requests open together
    refused: int = 0
    goaway: tuple[int, str] | None = None
    settled: bool = False  # our settings were acknowledged
    closed: bool = False


class Upstream:
    """`with Upstream() as upstream: upstream.address`. `script` is for the connections that begin from now on."""

    def __init__(self) -> None:
        self.script = Script()
        self.heard: list[Heard] = []
        self._played = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()

    def play(self, script: Script) -> None:
        """Serve by this script from now on, with no connection left over from before."""
        self.script = script
        self._played = 0
        self.heard = []
        self.drop_connections()

    def drop_connections(self) -> None:
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def requests(self) -> list[str]:
        """The paths of all that arrived since `play`."""
        return [path for heard in list(self.heard) for path in list(heard.requests)]

    def turn(self) -> bool:
        """Whether a connection may play now."""
        self._played += 1
        return bool(self.script.steps) and not (self.script.once and self._played > 1)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        heard = Heard()
        self.heard.append(heard)
        try:
            _Peer(sock, self, heard).serve()
        finally:
            heard.closed = True
            self._open.discard(sock)
            sock.close()


class _Peer(Flooder):
    """The app's end of one connection."""

    def __init__(self, sock: socket.socket, upstream: Upstream, heard: Heard) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.sock = sock
        self.received = b""
        self.closed = self.reset = self.stalled = False
        self.reads = True
        self._upstream = upstream
        self._script = upstream.script
        self._heard = heard
        self._decoder = Decoder()
        self._spoken = self._played = False
        self._waiting: deque[int] = deque()  # streams whose request is whole
        self._open = 0

    def serve(self) -> None:
        while len(self.received) < len(PREFACE) and not self.closed:
            self.listen(0.02)
        self.received = self.received[len(PREFACE) :]
        if self._script.early:
            self._play()
        while not self.closed:
            if not self._one():
                self._answer() if self._waiting else self.listen(0.02)
        while self._one():
            pass

    def _one(self) -> bool:
        """Hear one frame, if it is here."""
        size = HEADER + int.from_bytes(self.received[:3], "big")
        if len(self.received) < max(size, HEADER):
            return False
        ((kind, flags, stream, payload),) = frames(self.received[:size])
        self.received = self.received[size:]
        if kind == Kind.SETTINGS and flags & ACK:
            self._heard.settled = True
        elif kind == Kind.SETTINGS:
            self._say(SETTINGS_ACK)
        elif kind == Kind.PING and not flags & ACK:
            self._say(frame(Kind.PING, ACK, 0, payload))
        elif kind == Kind.GOAWAY:
            self._heard.goaway = int.from_bytes(payload[4:8], "big"), payload[8:].decode("latin-1")
        elif kind == Kind.HEADERS:
            self._begin(stream, flags, payload)
        elif kind == Kind.DATA:
            self._heard.octets += len(payload)
            if self._script.opens:
                self._say(window_update(0, len(payload)) + window_update(stream, len(payload)))
            self._end(stream, flags)
        return True

    def _begin(self, stream: int, flags: int, block: bytes) -> None:
        self._heard.requests.append(dict(self._decoder.decode(block))[":path"])
        if self._script.streams and self._open >= self._script.streams:
            self._heard.refused += 1
            self._say(reset_frame(stream, Code.REFUSED_STREAM))
            return
        self._open += 1
        self._heard.most = max(self._heard.most, self._open)
        if not self._played:
            self._play()
            if self._played and not self._script.serves:
                self._open -= 1
                return
        self._end(stream, flags)

    def _end(self, stream: int, flags: int) -> None:
        if flags & END_STREAM:
            self._waiting.append(stream)

    def _answer(self) -> None:
        if self._script.pause:
            self.listen(self._script.pause)
        stream = self._waiting.popleft()
        self._open -= 1
        head = OK[:5] + stream.to_bytes(4, "big") + OK[HEADER:]
        self._say(head + frame(Kind.DATA, END_STREAM, stream, b"ok"))

    def _play(self) -> None:
        if not self._upstream.turn():
            return
        self._played = self._spoken = True
        self.play(as_server(self._script.steps), 2.0, 0.3)

    def _say(self, octets: bytes) -> None:
        if not self._spoken:
            self._spoken = True
            octets = SETTINGS + octets
        self._write(memoryview(octets), 10.0)
