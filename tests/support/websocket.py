"""WebSocket for tests: a real server and a real client over HTTP/1.1, and a client over HTTP/2 (RFC 8441) that is made
of hyper-h2 for the stream and of the same library for what is in it."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, Side
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve


def echo(connection: ServerConnection) -> None:
    for message in connection:
        if message == "close":
            connection.close(4000, "as you wish")
            return
        connection.send(message)


@contextlib.contextmanager
def echo_server() -> Iterator[tuple[list[Request], str]]:
    """Says back what it hears, and closes with 4000 when told to: the requests it got, and its address."""
    asked: list[Request] = []

    def remember(connection: ServerConnection, request: Request) -> None:
        asked.append(request)

    def first(connection: ServerConnection, offered: list[str]) -> str | None:
        return offered[0] if offered else None

    # A sidecar keeps a connection warm, which this server takes for a client that is slow to say what it wants.
    choices = {"process_request": remember, "select_subprotocol": first, "max_size": None, "open_timeout": 1}
    with serve(echo, "127.0.0.1", 0, **choices) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield asked, f"127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


def dial(address: str, path: str, authority: str, **arguments: object) -> ClientConnection:
    """A client over HTTP/1.1, by way of a sidecar at `address`."""
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), 10)
    return connect(f"ws://{authority}{path}", sock=sock, max_size=None, proxy=None, **arguments)


class Http2WebSocket:
    """One extended CONNECT on a connection of its own, in clear text. `status` and `fields` are the answer."""

    def __init__(
        self, address: str, path: str, authority: str, protocol: str = "websocket", seconds: float = 10
    ) -> None:
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), seconds)
        self.connection = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.frames = Protocol(Side.CLIENT, max_size=None)
        self.status = 0
        self.fields: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.reset: int | None = None
        self._offered: bool | None = None  # extended CONNECT; None before the peer's settings
        self.connection.initiate_connection()
        self.read_until(lambda: self._offered is not None)
        assert self._offered, "the server takes no extended CONNECT"
        request = [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("sec-websocket-version", "13"),
        ]
        self.stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(self.stream, request)
        self.read_until(lambda: self.status or self.reset is not None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, text: str) -> None:
        self.frames.send_text(text.encode())
        self._flush()

    def receive(self) -> str:
        """The next message of text."""
        message = b""
        while True:
            for frame in self.frames.events_received():
                if frame.opcode in (Opcode.TEXT, Opcode.CONT):
                    message += bytes(frame.data)
                    if frame.fin:
                        return message.decode()
            self._read()

    def close(self) -> int | None:
        """The closing handshake; the code that the server closed with."""
        self.frames.send_close(1000)
        self._flush()
        self.read_until(lambda: self.ended or self.reset is not None)
        return self.frames.close_code

    def _flush(self) -> None:
        for octets in self.frames.data_to_send():
            if octets:
                self._send(octets)
            else:
                self.connection.end_stream(self.stream)
        self.sock.sendall(self.connection.data_to_send())

    def _send(self, octets: bytes) -> None:
        while octets:
            size = min(self.connection.local_flow_control_window(self.stream), 16384)
            if size:
                self.connection.send_data(self.stream, octets[:size])
                octets = octets[size:]
            else:
                self._hear()

    def read_until(self, done) -> None:
        """Read until `done()`."""
        while not done():
            self._read()

    def _read(self) -> None:
        self._hear()
        if self.status == 200 and not self.ended and self.reset is None:
            self._flush()  # pongs and the like

    def _hear(self) -> None:
        self.sock.sendall(self.connection.data_to_send())
        octets = self.sock.recv(65536)
        assert octets, "the server closed the connection"
        for event in self.connection.receive_data(octets):
            if isinstance(event, RemoteSettingsChanged):
                self._offered = bool(self.connection.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL, 0))
            elif isinstance(event, ResponseReceived):
                self.fields = dict(event.headers)
                self.status = int(self.fields[":status"])
            elif isinstance(event, DataReceived):
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if self.status == 200:
                    self.frames.receive_data(event.data)
                self.body += event.data
            elif isinstance(event, StreamEnded):
                self.ended = True
                if self.status == 200:
                    self.frames.receive_eof()
            elif isinstance(event, StreamReset):
                self.reset = event.error_code
