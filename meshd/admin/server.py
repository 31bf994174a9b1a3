"""The admin API on its socket: a small HTTP/1.1 server on trio, in the controller.

Rule 1: everything a client can hold on to is bounded: connections, octets of a request, and the time for each of
reading it and writing the answer. Rule 2: nothing it does reaches the data path, which runs in other processes.
Rule 3: who comes is served. Past a bound the place is made by whoever has kept one longest without being served, of
the address that keeps most; so those who connect and say nothing, however many, keep no probe out.
"""

import logging
import os
import socket
from collections import Counter
from dataclasses import dataclass

import trio

from meshd.admin.api import AdminApi, AdminRequest, AdminResponse, text
from meshd.admin.guard import is_local, refusal
from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead, ResponseHead
from meshd.http.events import End
from meshd.http.h1 import ServerCodec
from meshd.net.sockets import listen

log = logging.getLogger(__name__)

CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class AdminLimits:
    """What one client, and all of them, may take."""

    connections: int = 128
    per_client: int = 64  # of them, from one address
    request_octets: int = 65_536  # head and body
    request_time: float = 5.0  # seconds, idle time before it included
    response_time: float = 30.0


@dataclass(slots=True, eq=False)
class Visit:
    """One connection, and since when it has waited for its client: to ask, or to read the answer."""

    stream: trio.SocketStream
    client: str
    since: float


class AdminServer:
    """Serves one API on any number of sockets."""

    __slots__ = ("_api", "_limits", "_visits", "evicted")

    def __init__(self, api: AdminApi, limits: AdminLimits | None = None) -> None:
        self._api = api
        self._limits = limits or AdminLimits()
        self._visits: set[Visit] = set()
        self.evicted = 0

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._visits)

    async def serve(self, sock: socket.socket) -> None:
        """Serve a listening socket until cancelled; closes it."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        await trio.serve_listeners(self.serve_stream, [listener])

    async def serve_stream(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end."""
        unix = stream.socket.family == socket.AF_UNIX
        try:
            client = "" if unix else stream.socket.getpeername()[0]
        except OSError:
            client = ""  # it has left already
        visit = Visit(stream, client, trio.current_time())
        self._make_room(client)
        self._visits.add(visit)
        try:
            await self._serve(visit, unix=unix)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client left, or gave its place to another
        except Exception:  # a bug in one page must not end the controller
            log.exception("an admin connection crashed")
        finally:
            self._visits.discard(visit)
            await trio.aclose_forcefully(stream)

    def statistics(self) -> dict[str, int]:
        """How many connections there are, and how many gave their place to others."""
        return {"connections": self.connections, "evicted": self.evicted}

    def _make_room(self, client: str) -> None:
        """Have a place for one more of this client."""
        visits, limits = self._visits, self._limits
        clients = Counter(visit.client for visit in visits)
        if clients[client] >= limits.per_client:
            candidates = [visit for visit in visits if visit.client == client]
        elif len(visits) >= limits.connections:
            candidates = [visit for visit in visits if clients[visit.client] == max(clients.values())]
        else:
            return
        visit = min(candidates, key=lambda visit: visit.since)
        visits.discard(visit)
        self.evicted += 1
        visit.stream.socket.close()

    async def _serve(self, visit: Visit, *, unix: bool) -> None:
        stream = visit.stream
        codec = ServerCodec()
        local = unix or is_local(visit.client)
        while True:
            head: RequestHead | None = None
            try:
                with trio.move_on_after(self._limits.request_time):
                    head = await self._read(stream, codec)
            except ProtocolError as error:
                await self._write(stream, codec, text(error.status, f"bad request: {error.details}"))
                return
            if head is None:
                return  # done, or too slow
            visit.since = trio.current_time()
            await self._write(stream, codec, refusal(head, unix=unix) or self._answer(head, local=local))
            visit.since = trio.current_time()
            if codec.must_close:
                return
            codec.next_cycle()

    async def _read(self, stream: trio.SocketStream, codec: ServerCodec) -> RequestHead | None:
        """A whole request, its body thrown away; None when the client is done."""
        head: RequestHead | None = None
        octets = 0
        while True:
            event = codec.next_event()
            if isinstance(event, RequestHead):
                head = event
            elif isinstance(event, End):
                return head
            elif event is None:
                data = await stream.receive_some(CHUNK)
                octets += len(data)
                if octets > self._limits.request_octets:
                    codec.must_close = True
                    raise ProtocolError(413, f"more than {self._limits.request_octets} octets")
                if not data and head is None:
                    return None
                codec.receive(data)

    def _answer(self, head: RequestHead, *, local: bool) -> AdminResponse:
        request = AdminRequest(
            method=head.method.decode("latin-1"),
            path=head.path.decode("utf-8", "backslashreplace"),
            query=(head.query or b"").decode("utf-8", "backslashreplace"),
            now=trio.current_time(),
            local=local,
            accept=(head.get(b"accept") or b"").decode("latin-1"),
        )
        try:
            return self._api.answer(request)
        except Exception as error:  # said to whoever asked, and in the log with its traceback
            log.exception("%s %s crashed", request.method, request.path, extra={"kind": ""})
            return text(500, f"{request.path} failed: {error}")

    async def _write(self, stream: trio.SocketStream, codec: ServerCodec, response: AdminResponse) -> None:
        headers = [
            (b"content-type", response.content_type.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *response.headers,
        ]
        head = ResponseHead(response.status, headers, len(response.body))
        with trio.move_on_after(self._limits.response_time) as scope:
            await stream.send_all(codec.send_head(head, response.body, end=True))
        if scope.cancelled_caught:
            codec.must_close = True  # the client does not read

    def __repr__(self) -> str:
        return f"<AdminServer {self.connections} connections, {self.evicted} evicted>"


def listen_admin(address: str, port: int) -> socket.socket:
    """The socket to serve on; `address` starting with "/" is a unix socket that only our own user may open.

    Raises OSError with the address in its text.
    """
    sock = listen(address, port, share=False)
    if address.startswith("/"):
        os.chmod(address, 0o600)
    return sock
