"""A client's HTTP/2 connection: its exchanges beside each other, each to its own end."""

import pytest
from support.background import in_background, settled
from support.h2_peers import PEERS
from support.h2_proxy import Proxied, answering, proxied, spoken, written
from support.http2 import GET, OPENING, POST, data, frames, headers

from meshd.core import flags
from meshd.core.peer import Peer
from meshd.http.h2_events import Code
from meshd.http.h2_frames import END_HEADERS, END_STREAM, Kind, frame
from meshd.net import wait
from meshd.proxy.downstream_h2 import LINGER

WINDOW = 65535
GRPC = [(b"content-type", b"application/grpc")]
pytestmark = pytest.mark.usefixtures("each_library")


# -- exchanges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", PEERS)
@pytest.mark.parametrize("app", PEERS)
async def test_an_exchange_both_ways_through(client, app):
    async def run():
        proxy = Proxied(client := client_kind(client=True), app := app_kind(client=False))
        await proxy.begin()
        stream = client.request(b"POST", b"/up", [(b"x-a", b"1")], end=False)
        client.send(stream, b"question", end=False)
        client.finish(stream, [(b"x-sum", b"7")])
        await proxy.carry()
        [head] = app.heads[1]
        assert (head[b":method"], head[b":path"], head[b"x-a"]) == (b"POST", b"/up", b"1")
        assert (app.bodies[1], dict(app.trailers[1])) == (b"question", {b"x-sum": b"7"})
        app.answer(1, 103, [(b"link", b"l")])
        app.answer(1, 200, [(b"x-b", b"2")])
        app.send(1, b"answer", end=False)
        app.finish(1, [(b"x-end", b"9")])
        await proxy.carry()
        interim, final = client.heads[stream]
        assert (interim[b":status"], interim[b"link"]) == (b"103", b"l")
        assert (final[b":status"], final[b"x-b"]) == (b"200", b"2")
        assert (client.bodies[stream], dict(client.trailers[stream])) == (b"answer", {b"x-end": b"9"})
        assert not client.resets
        assert not app.resets
        [exchange] = proxy.recorder.finished
        assert (exchange.status, exchange.flags) == (200, "")
        assert (exchange.bytes_received, exchange.bytes_sent) == (8, 6)

    client_kind, app_kind = client, app
    await in_background(run)


def message(octets):
    """One message of gRPC: not compressed, its length, itself."""
    return b"\0" + len(octets).to_bytes(4, "big") + octets


@pytest.mark.parametrize("early", [True, False])
async def test_messages_of_grpc_are_counted_and_its_status_is_read(early):
    async def body(proxy):
        client, app = proxy.client, proxy.app
        stream = client.request(b"POST", b"/shop.Orders/Get", GRPC, end=False)
        if not early:
            await proxy.carry()
        client.send(stream, message(b"one") + message(b"two"), end=False)
        await proxy.carry()
        client.send(stream, message(b"three"))
        await proxy.carry()
        app.answer(1, 200, GRPC)
        app.send(1, message(b"answer") * 4, end=False)
        await proxy.carry()
        app.send(1, message(b"answer"), end=False)
        app.finish(1, [(b"grpc-status", b"5")])
        await proxy.carry()
        [exchange] = proxy.recorder.finished
        assert (exchange.rpc.received.count, exchange.rpc.sent.count, exchange.rpc.status) == (3, 5, 5)
        assert dict(client.trailers[stream]) == {b"grpc-status": b"5"}

    await proxied(body)


async def test_exchanges_end_in_any_order():
    async def body(proxy):
        client, app = proxy.client, proxy.app
        streams = [client.request(path=b"/%d" % number) for number in range(5)]
        await proxy.carry()
        paths = {app.heads[stream][0][b":path"]: stream for stream in list(app.heads)}
        for number in (3, 0, 4, 1, 2):
            app.answer(paths[b"/%d" % number])
            app.send(paths[b"/%d" % number], b"answer %d" % number)
            await proxy.carry()
        assert [client.bodies[stream] for stream in streams] == [b"answer %d" % number for number in range(5)]
        assert [exchange.head.path for exchange in proxy.recorder.finished] == [b"/3", b"/0", b"/4", b"/1", b"/2"]
        assert len(proxy.behind) == 1

    await proxied(body)


async def test_a_response_that_nobody_reads_stops_its_own_stream_alone():
    """From end to end: what the proxy holds of it is bounded, and its siblings are served meanwhile."""

    async def body(proxy):
        client, app = proxy.client, proxy.app
        slow, quick = client.request(path=b"/slow"), client.request(path=b"/quick")
        client.ignored.add(slow)
        await proxy.carry()
        streams = {app.heads[stream][0][b":path"]: stream for stream in list(app.heads)}
        for path in (b"/slow", b"/quick"):
            app.answer(streams[path])
            app.send(streams[path], path * 200_000)
        await proxy.carry()
        assert client.bodies[quick] == b"/quick" * 200_000
        assert quick in client.ended
        assert len(client.bodies[slow]) == WINDOW
        taken = 1_000_000 - len(app.waiting[streams[b"/slow"]][0])
        assert taken <= 3 * WINDOW  # one is the client's, one on its way out, one in the lane
        client.ignored.clear()
        client.read(slow, client.unread[slow])
        await proxy.carry()
        assert client.bodies[slow] == b"/slow" * 200_000

    await proxied(body)


async def test_a_request_that_nobody_reads_stops_its_own_stream_alone():
    async def body(proxy):
        client, app = proxy.client, proxy.app
        app.reads = False
        slow = client.request(b"POST", b"/slow", end=False)
        client.send(slow, bytes(1_000_000))
        await proxy.carry()
        assert 1_000_000 - len(client.waiting[slow][0]) <= 4 * WINDOW  # and so much is kept for sending again
        quick = client.request(path=b"/quick")
        await proxy.carry()
        [stream] = [stream for stream in list(app.heads) if app.heads[stream][0][b":path"] == b"/quick"]
        app.answer(stream, 204, end=True)
        await proxy.carry()
        assert quick in client.ended
        app.reads = True
        [stalled] = [stream for stream in list(app.heads) if app.heads[stream][0][b":path"] == b"/slow"]
        app.read(stalled, app.unread[stalled])
        await proxy.carry()
        assert len(app.bodies[stalled]) == 1_000_000

    await proxied(body)


@pytest.mark.parametrize("principal", [b"", b"mesh.test/ns/default/sa/client"], ids=["nobody", "a workload"])
async def test_an_answer_of_our_own_leaves_the_rest_of_the_request_unwanted(principal):
    """A client gets a moment to read it before it is asked to stop, whoever it is: not only sidecars have names."""

    async def body(proxy, client):
        proxy.downstream.peer = Peer("127.0.0.1", 4711, principal=principal)
        client.say(headers(1, POST) + headers(3, GET, end=True))
        await settled()
        found = frames(client.take_written())
        assert sorted((stream, payload) for kind, _, stream, payload in found if kind == Kind.DATA) == [
            (1, b"mine\n"),
            (3, b"mine\n"),
        ]
        assert [exchange.status for exchange in proxy.recorder.finished] == [403, 403]
        proxy.downstream.sweep(wait.now() + LINGER - 0.1)
        await settled()
        assert not [kind for kind, *_ in found if kind == Kind.RST_STREAM]
        assert list(proxy.downstream.link.lanes) == [1]
        proxy.downstream.sweep(wait.now() + LINGER + 0.1)
        await settled()
        found = frames(client.take_written())
        assert [(stream, payload) for kind, _, stream, payload in found if kind == Kind.RST_STREAM] == [
            (1, bytes(4))  # NO_ERROR (RFC 9113 section 8.1)
        ]
        assert not proxy.downstream.link.lanes

    await spoken(body, chain=answering(403, b"mine"))


async def test_what_still_comes_behind_an_early_answer_is_dropped_as_it_comes():
    """More than a window of it, on a connection that others use too; and its end is the end of the stream."""

    async def body(proxy, client):
        client.say(headers(1, POST))
        await settled()
        for _ in range(5):
            client.say(data(1, bytes(16000)) * 2)
            await settled()
        opened = [stream for kind, _, stream, _ in frames(client.take_written()) if kind == Kind.WINDOW_UPDATE]
        assert opened.count(1) >= 3
        client.say(data(1, b"", end=True))
        await settled()
        assert not proxy.downstream.link.lanes
        proxy.downstream.sweep(wait.now() + LINGER + 0.1)
        await settled()
        assert not [kind for kind, *_ in frames(client.take_written()) if kind == Kind.RST_STREAM]

    await spoken(body, chain=answering(403, b"mine"))


async def test_an_answer_of_our_own_to_head_has_no_body():
    async def body(proxy, client):
        client.say(headers(1, [(b":method", b"HEAD"), *GET[1:]], end=True))
        await settled()
        [(kind, flag, stream, _)] = frames(client.take_written())
        assert (kind, flag, stream) == (Kind.HEADERS, END_HEADERS | END_STREAM, 1)

    await spoken(body, chain=answering(403, b"mine"))


async def test_requests_that_are_not_to_be_served_are_answered_and_accounted_for():
    async def body(proxy, client):
        client.say(headers(1, [*GET, *[(b"x", b"y")] * 101], end=True))
        client.say(headers(3, [(b":method", b"CONNECT"), (b":authority", b"a.test:80")]))
        client.say(headers(5, GET, end=True))
        await settled()
        assert sorted((exchange.status, exchange.flags) for exchange in proxy.recorder.finished) == [
            (204, ""),
            (431, flags.DOWNSTREAM_PROTOCOL),
            (501, flags.NO_ROUTE),
        ]
        assert {stream for stream, _ in written(client, Kind.HEADERS)} == {1, 3, 5}
        assert not client.aborted
        assert not proxy.downstream.link.lanes

    await spoken(body, chain=answering())


async def test_octets_that_were_read_before_are_heard_first():
    async def run():
        proxy = Proxied(chain=answering())
        await proxy.begin(OPENING + headers(1, GET, end=True)[:12])
        proxy.before.say(headers(1, GET, end=True)[12:])
        await settled()
        assert [exchange.status for exchange in proxy.recorder.finished] == [204]
        assert repr(proxy.downstream) == "<Http2Downstream 127.0.0.1:4711 0 exchanges>"

    await in_background(run)


# -- what ends before its time -----------------------------------------------------------------------------------------


async def test_a_client_that_cancels_ends_its_exchange_alone():
    async def body(proxy):
        client, app = proxy.client, proxy.app
        gone, stays = client.request(path=b"/gone"), client.request(path=b"/stays")
        await proxy.carry()
        streams = {app.heads[stream][0][b":path"]: stream for stream in list(app.heads)}
        client.reset(gone, Code.CANCEL)
        await proxy.carry()
        proxy.downstream.sweep(0.0)
        await proxy.carry()
        assert app.resets == {streams[b"/gone"]: Code.CANCEL}
        assert proxy.flags == [flags.DOWNSTREAM_GONE]
        app.answer(streams[b"/stays"], 204, end=True)
        await proxy.carry()
        assert stays in client.ended
        assert not proxy.downstream.flights

    await proxied(body)


@pytest.mark.parametrize("orderly", [True, False])
async def test_exchanges_do_not_outlive_their_client(orderly):
    async def body(proxy):
        client, app = proxy.client, proxy.app
        for _ in range(3):
            client.request()
        answered = client.request(path=b"/answered")
        await proxy.carry()
        [stream] = [stream for stream in list(app.heads) if app.heads[stream][0][b":path"] == b"/answered"]
        app.answer(stream)
        await proxy.carry()
        assert client.heads[answered]
        proxy.before.end() if orderly else proxy.before.break_off()
        await proxy.carry()
        assert len(app.resets) == 4
        assert proxy.flags == [flags.DOWNSTREAM_GONE] * 4
        assert proxy.recorder.broken_off == []
        assert not proxy.downstream.flights

    await proxied(body)


LATE = {
    "its head": lambda app: app.answer(1, 200, GRPC),
    "its body": lambda app: app.send(1, b"more", end=False),
    "its end": lambda app: app.finish(1, [(b"grpc-status", b"0")]),
    "a reset": lambda app: app.reset(1, Code.INTERNAL_ERROR),
}


@pytest.mark.parametrize("name", LATE)
async def test_what_an_app_says_to_a_client_that_has_cancelled_goes_nowhere(name):
    """In the same moment, before anybody has looked whether the client is there."""

    async def body(proxy):
        client, app = proxy.client, proxy.app
        stream = client.request(b"POST", fields=GRPC)
        await proxy.carry()
        if name != "its head":
            app.answer(1, 200, GRPC)
            await proxy.carry()
        client.reset(stream, Code.CANCEL)
        await proxy.carry()
        LATE[name](app)
        await proxy.carry()
        proxy.downstream.sweep(0.0)
        await proxy.carry()
        [exchange] = proxy.recorder.finished
        assert exchange.flags == (flags.REMOTE_RESET if name == "a reset" else flags.DOWNSTREAM_GONE)
        assert not client.trailers
        assert not proxy.downstream.link.lanes
        assert not proxy.before.aborted

    await proxied(body)


async def test_a_hostile_client_is_counted_by_what_it_did():
    async def body(proxy, client):
        client.say(headers(1, GET, end=True) + frame(Kind.PING, 0, 0, bytes(8)) * 1001)
        await settled()
        assert proxy.recorder.broken_off == ["pings"]
        [(_, payload)] = written(client, Kind.GOAWAY)
        assert payload[4:8] == b"\0\0\0\x0b"
        assert client.aborted

    await spoken(body, chain=answering())


async def test_a_client_that_speaks_nonsense_is_counted_by_its_error():
    async def body(proxy, client):
        client.say(data(0, b"x"))
        await settled()
        assert proxy.recorder.broken_off == ["h2_1"]

    await spoken(body)


async def test_a_body_that_does_not_add_up_is_the_clients_fault():
    async def body(proxy, client):
        client.say(headers(1, [*POST, (b"content-length", b"3")]) + data(1, b"ab"))
        await settled()
        client.say(data(1, b"", end=True))
        await settled()
        [exchange] = proxy.recorder.finished
        assert exchange.flags == flags.DOWNSTREAM_PROTOCOL
        assert written(client, Kind.RST_STREAM) == [(1, b"\0\0\0\1")]

    await spoken(body)


FAILING = {
    "before the head": (lambda app: None, {b":status": b"502"}),
    "after the head": (lambda app: app.answer(1), {b":status": b"200"}),
}


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("grpc", [False, True])
async def test_an_app_that_breaks_off_leaves_a_visibly_incomplete_answer(name, grpc):
    """A plain client sees a reset, one of gRPC a status in trailers."""
    begin, wanted = FAILING[name]

    async def body(proxy):
        client, app = proxy.client, proxy.app
        stream = client.request(b"POST", b"/shop.Orders/Get", GRPC if grpc else [], end=True)
        await proxy.carry()
        begin(app)
        await proxy.carry()
        app.reset(1, Code.INTERNAL_ERROR)
        await proxy.carry()
        [head] = client.heads[stream]
        if name == "before the head":
            assert head[b":status"] == (b"200" if grpc else wanted[b":status"])
            assert head.get(b"grpc-status") == (b"14" if grpc else None)
            assert not client.resets
        elif grpc:
            assert dict(client.trailers[stream])[b"grpc-status"] == b"14"
            assert stream in client.ended
        else:
            assert client.resets == {stream: Code.INTERNAL_ERROR}
            assert stream not in client.ended
        [exchange] = proxy.recorder.finished
        assert exchange.flags == flags.REMOTE_RESET
        assert exchange.rpc is None or exchange.rpc.status == 14

    await proxied(body)
