import json
import socket
import stat

import pytest
import trio
import trio.testing
from support.admin import FakeController

from meshd.admin.server import AdminLimits, AdminServer, Visit, listen_admin

GET = b"GET %b HTTP/1.1\r\nhost: 127.0.0.1:15000\r\n\r\n"


class Running:
    """A server on a free loopback port, for one `async with`."""

    def __init__(self, limits=None):
        self.controller = FakeController()
        self.server = AdminServer(self.controller.api, limits)
        self.sock = listen_admin("127.0.0.1", 0)
        self.port = self.sock.getsockname()[1]

    async def __aenter__(self):
        self._nursery = trio.open_nursery()
        nursery = await self._nursery.__aenter__()
        nursery.start_soon(self.server.serve, self.sock)
        self._scope = nursery.cancel_scope
        return self

    async def __aexit__(self, *error):
        self._scope.cancel()
        await self._nursery.__aexit__(*error)

    async def connect(self):
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def ask(self, request):
        """What comes back on a connection of its own until the server closes it or has answered."""
        async with await self.connect() as stream:
            await stream.send_all(request)
            return await read_response(stream)


async def read_response(stream):
    data = b""
    while b"\r\n\r\n" not in data and (more := await stream.receive_some()):
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", 0)) and (more := await stream.receive_some()):
        body += more
    return int(head.split(b" ")[1]) if head else 0, fields, body


async def test_pages_are_served_over_one_connection():
    async with Running() as running, await running.connect() as stream:
        for path, wanted in ((b"/live", b"live\n"), (b"/ready", b"ready\n")):
            await stream.send_all(GET % path)
            status, fields, body = await read_response(stream)
            assert (status, body) == (200, wanted)
            assert fields[b"cache-control"] == b"no-store"
        assert running.server.statistics() == {"connections": 1, "evicted": 0}


async def test_requests_sent_together_are_answered_in_order():
    async with Running() as running, await running.connect() as stream:
        await stream.send_all(
            GET % b"/live"
            + GET % b"/server_info"
            + b"GET /live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        data = b""
        while more := await stream.receive_some():
            data += more
        assert [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 3
        assert data.index(b"live") < data.index(b'"version"')


async def test_post_reaches_the_controller_with_its_body_thrown_away():
    async with Running() as running:
        request = b"POST /logging?level=debug HTTP/1.1\r\nhost: [::1]\r\ncontent-length: 5\r\n\r\nhello"
        status, _fields, _body = await running.ask(request)
        assert (status, running.controller.levels) == (200, ["debug"])


async def test_a_rebound_name_is_refused():
    async with Running() as running:
        status, _fields, body = await running.ask(
            b"POST /drain HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 0\r\n\r\n"
        )
        assert (status, running.controller.drains) == (403, 0)
        assert b"evil.example" in body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"POST /drain HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999\r\n\r\n" + b"x" * 66_000, 413),
    ],
)
async def test_bad_and_large_requests_are_told_so_and_cut_off(request_bytes, status):
    async with Running() as running:
        async with await running.connect() as stream:
            await stream.send_all(request_bytes)
            found, fields, _body = await read_response(stream)
            assert (found, fields[b"connection"]) == (status, b"close")
        assert running.controller.drains == 0
        assert (await running.ask(GET % b"/live"))[0] == 200


async def test_head_has_no_body():
    async with Running() as running, await running.connect() as stream:
        await stream.send_all(b"HEAD /live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        data = b""
        while more := await stream.receive_some():
            data += more
        assert data.endswith(b"\r\n\r\n")
        assert b"content-length: 5\r\n" in data


async def test_one_connection_too_many_takes_the_place_of_the_one_idle_longest():
    async with Running(AdminLimits(connections=2)) as running:
        first, second = await running.connect(), await running.connect()
        for stream in (second, first):
            await stream.send_all(GET % b"/live")
            assert (await read_response(stream))[0] == 200
        third = await running.connect()
        assert await second.receive_some() == b""
        for stream in (first, third):
            await stream.send_all(GET % b"/live")
            assert (await read_response(stream))[0] == 200
            await stream.aclose()
        assert running.server.statistics()["evicted"] == 1
        await second.aclose()


async def test_those_who_say_nothing_keep_no_probe_out():
    async with Running() as running:
        silent = [await running.connect() for _ in range(200)]
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert running.server.connections <= AdminLimits().per_client
        for _ in range(10):
            silent.append(await running.connect())
            assert (await running.ask(GET % b"/live"))[0] == 200
        for stream in silent:
            await stream.aclose()


async def test_a_client_with_many_connections_takes_none_of_another(autojump_clock):
    server = AdminServer(FakeController().api, AdminLimits(connections=4, per_client=3))
    server._visits.update(Visit(FakeStream(), client, float(at)) for at, client in enumerate("baaa"))
    server._make_room("c")
    assert sorted(visit.client for visit in server._visits) == ["a", "a", "b"]
    server._visits.add(Visit(FakeStream(), "a", 9.0))
    server._make_room("a")
    assert sorted((visit.client, visit.since) for visit in server._visits) == [("a", 3.0), ("a", 9.0), ("b", 0.0)]


class FakeStream:
    """A connection that can only be closed."""

    socket = property(lambda self: self)

    def close(self):
        pass


def stream_pair():
    """Both ends of a connection: one for `serve_stream`, one for the test."""
    ours, theirs = socket.socketpair()
    return (trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in (ours, theirs))


async def test_a_slow_request_is_cut_off(autojump_clock):
    server = AdminServer(FakeController().api, AdminLimits(request_time=5))
    ours, theirs = stream_pair()
    async with theirs, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, ours)
        for octet in b"GET /li":
            await theirs.send_all(bytes([octet]))
            await trio.sleep(0.6)
        started = trio.current_time()
        assert await theirs.receive_some() == b""
        assert trio.current_time() - started < 1
    assert server.connections == 0


async def test_a_client_that_does_not_read_is_cut_off(autojump_clock):
    controller = FakeController()
    controller.document = {"x": "y" * 5_000_000}
    server = AdminServer(controller.api, AdminLimits(response_time=5))
    ours, theirs = stream_pair()
    async with theirs, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, ours)
        await theirs.send_all(GET % b"/config_dump")
        await trio.sleep(5.5)
        assert server.connections == 0


async def test_a_page_that_crashes_is_a_500_and_not_the_end(caplog):
    async with Running() as running:
        running.controller.document = object()
        status, _fields, body = await running.ask(GET % b"/config_dump")
        assert (status, body.startswith(b"/config_dump failed: ")) == (500, True)
        assert (await running.ask(GET % b"/live"))[0] == 200
    assert caplog.records[0].exc_info


async def test_a_client_that_leaves_in_the_middle_is_forgotten():
    server = AdminServer(FakeController().api)
    ours, theirs = stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, ours)
        await theirs.send_all(b"POST /drain HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nab")
        await theirs.aclose()
    assert repr(server) == "<AdminServer 0 connections, 0 evicted>"


async def test_a_unix_socket_is_for_our_own_user_and_needs_no_host(tmp_path):
    path = tmp_path / "admin.sock"
    sock = listen_admin(str(path), 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    controller = FakeController()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(AdminServer(controller.api).serve, sock)
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b"GET /config_dump HTTP/1.1\r\nhost: meshd\r\n\r\n")
            status, _fields, body = await read_response(stream)
        assert (status, json.loads(body)["kind"]) == (200, "Proxy")
        nursery.cancel_scope.cancel()


async def test_a_storm_of_scrapes_is_served():
    async with Running() as running:
        for number in range(500):
            running.controller.metrics.cells.histogram("h", (("n", str(number)),)).observe(1)
        statuses = []

        async def scrape():
            statuses.append((await running.ask(GET % b"/metrics"))[0])

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(scrape)
        assert statuses == [200] * 100


def test_an_address_that_is_taken_is_an_error_that_names_it():
    with listen_admin("127.0.0.1", 0) as taken, pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:"):
        listen_admin("127.0.0.1", taken.getsockname()[1])
