"""From an endpoint to a pooled connection, over loopback."""

import socket

import pytest
import trio
from support.background import in_background
from support.ca import MeshCA
from support.h2_peers import HyperPeer
from support.h2_upstream import Script, Upstream
from support.http2 import settings
from support.origin import Origin
from support.requests import request

from meshd.core import flags
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.errors import Resend, StreamBroken, UpstreamError
from meshd.net import wait
from meshd.net.dial import Dialler
from meshd.net.stream import PlainStream
from meshd.net.sweep import Sweeper
from meshd.net.tls import H2, HTTP1, TlsIdentity
from meshd.upstream.connector import Connector
from meshd.upstream.http1 import Http1Connection
from meshd.upstream.http2 import Http2Connection


def make_connector(timeout=5.0, sweeper=None):
    return Connector(Dialler(sweeper or Sweeper(), None), timeout)


async def test_a_connection_that_carries_an_exchange():
    with Origin() as origin:
        began = trio.current_time()
        connection = await make_connector()(Endpoint("127.0.0.1", origin.port))
        assert began <= connection.born <= trio.current_time()
        assert (connection.uses, connection.idle_since) == (0, connection.born)
        await connection.send_request(request("/it"), b"", end=True)
        assert (await connection.read_head()).status == 200
        assert connection.take_ready()[0] == b"ok"
        connection.close()
    assert [each.target for each in origin.requests] == ["/it"]


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize(
    ("asked", "secure", "is_quick"),
    [
        (None, False, True),
        (None, True, False),
        (True, True, True),
        (False, False, False),
    ],
)
async def test_parts_of_a_response_are_acknowledged_at_once_where_an_app_may_answer(
    credentials, asked, secure, is_quick, http2
):
    async def run():
        server = Http2Server(TlsIdentity(credentials, (H2,) if http2 else ()) if secure else None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            identity = TlsIdentity(credentials)
            connector = Connector(Dialler(Sweeper(), identity), 5.0, quick_ack=asked)
            connection = await connector(server.endpoint(), http2=http2)
            stream = connection.link.stream if http2 else connection.stream
            assert stream.quick_ack is is_quick
            connection.close()

    await in_background(run)


async def test_a_closed_port_is_a_failure_before_anything_was_sent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UpstreamError, match="refused") as caught:
        await make_connector()(Endpoint("127.0.0.1", port))
    assert (caught.value.flag, caught.value.retry) == (flags.CONNECTION_FAILURE, Resend.UNSENT)


async def test_mutual_tls_without_certificates_is_refused():
    with Origin() as origin, pytest.raises(UpstreamError, match="no certificates") as caught:
        await make_connector()(Endpoint("127.0.0.1", origin.port, tls=Tls.MUTUAL))
    assert caught.value.retry is Resend.UNSENT


class Http2Server:
    """hyper-h2 behind a real socket, with TLS if it has an identity; answers every request with 204."""

    def __init__(self, identity=None):
        self.identity = identity
        self.peer = HyperPeer(client=False)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)

    def endpoint(self):
        tls = Tls.PLAIN if self.identity is None else Tls.MUTUAL
        made = Endpoint("127.0.0.1", self.listener.getsockname()[1], tls=tls)
        made.identities = frozenset({"spiffe://cluster.local/ns/default/sa/web"})
        return made

    async def run(self):
        with self.listener:
            await trio.lowlevel.wait_readable(self.listener)
            sock, _ = self.listener.accept()
        sock.setblocking(False)
        stream = PlainStream(sock)
        if self.identity is not None:
            stream = (await self.identity.accept(sock)).stream
            if stream.protocol != H2:
                stream.close()
                return
        try:
            while octets := await stream.receive():
                self.peer.hear(octets)
                for number in self.peer.ended:
                    self.peer.answer(number, 204, end=True)
                self.peer.ended.clear()
                if answer := self.peer.say():
                    await stream.send(answer)
        except StreamBroken:
            pass
        stream.close()


async def ask(connection):
    """The status of one exchange."""
    carrier = connection.open()
    await carrier.send_request(request(), b"", end=True)
    status = (await carrier.read_head()).status
    carrier.done(whole=True)
    connection.close()
    return status


async def test_http2_without_tls_is_spoken_with_prior_knowledge():
    async def run():
        server = Http2Server()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            connection = await make_connector()(server.endpoint(), http2=True)
            assert isinstance(connection, Http2Connection)
            assert await ask(connection) == 204

    await in_background(run)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    ca = MeshCA(tmp_path_factory.mktemp("ca"))
    return ca.load(ca.issue("web"))


@pytest.mark.parametrize(
    ("offered", "kind"), [((H2, HTTP1), Http2Connection), ((HTTP1,), Http1Connection), ((), Http1Connection)]
)
async def test_with_tls_the_endpoint_chooses(credentials, offered, kind):
    async def run():
        server = Http2Server(TlsIdentity(credentials, offered))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            connector = Connector(Dialler(Sweeper(), TlsIdentity(credentials)), 5.0)
            connection = await connector(server.endpoint(), http2=True)
            assert type(connection) is kind
            assert connection.identity.uri == "spiffe://cluster.local/ns/default/sa/web"
            if kind is Http2Connection:
                assert await ask(connection) == 204
            else:
                connection.close()

    await in_background(run)


async def of_http2(address, within=5.0):
    """Whether a connection to that address has room beside 0, 6 and 7 exchanges, or why there is none."""
    host, _, port = address.rpartition(":")
    sweeper, made = Sweeper(), []

    async def body():
        wait.start(sweeper.run)
        try:
            connection = await make_connector(within, sweeper)(Endpoint(host, int(port)), http2=True)
            made.append([connection.has_room(leases) for leases in (0, 6, 7)])
            connection.close()
        except UpstreamError as error:
            made.append(error)

    await wait.background.run(body)
    assert wait.background.crashes == 0
    return made[0]


async def test_a_connection_of_http2_is_there_when_its_server_has_said_what_it_takes():
    with Upstream() as upstream:
        upstream.play(Script((("send", settings(streams=7)),), early=True))
        had_room = await of_http2(upstream.address)
    assert had_room == [True, True, False]


async def test_a_server_that_lets_nobody_begin_is_one_that_cannot_be_reached():
    with Upstream() as upstream:
        upstream.play(Script((("send", settings(streams=0)),), early=True))
        error = await of_http2(upstream.address)
    assert (error.status, error.flag, error.retry) == (503, flags.CONNECTION_FAILURE, Resend.UNSENT)
    assert "the server lets no request begin" in error.details


async def test_a_server_that_does_not_speak_is_not_waited_for_longer_than_for_a_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = await of_http2(f"127.0.0.1:{listener.getsockname()[1]}", within=0.1)
    assert (error.status, error.flag, error.retry) == (504, flags.CONNECTION_FAILURE, Resend.UNSENT)
    assert "timed out" in error.details


async def test_a_server_that_speaks_something_else_has_done_nothing_with_the_request():
    with Origin() as origin:
        origin.on_accept = lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        error = await of_http2(origin.address)
    assert (error.status, error.flag, error.retry) == (502, flags.UPSTREAM_PROTOCOL, Resend.UNSENT)


def test_it_says_what_it_is():
    assert repr(make_connector(1.5)) == "<Connector within 1.5 s>"
