"""How a client's HTTP/2 connection ends: time limits, taking leave in two steps, and being cut off."""

import pytest
from support.background import in_background, settled
from support.h2_peers import OwnPeer
from support.h2_proxy import LIMITS, Proxied, answering, proxied, spoken, written
from support.http2 import GET, OPENING, block, headers

from meshd.http.h2_events import Code
from meshd.http.h2_frames import ACK, END_HEADERS, LARGEST, PREFACE, Kind, frame
from meshd.proxy.downstream_h2 import LAST_STEP

GRPC = [(b"content-type", b"application/grpc")]
pytestmark = pytest.mark.usefixtures("each_library")

# -- time limits -------------------------------------------------------------------------------------------------------


async def test_an_idle_connection_ends_with_a_goodbye():
    async def body(proxy, client):
        client.say(headers(1, GET, end=True))
        await settled()
        client.take_written()
        heard = proxy.downstream.link.heard_at
        proxy.downstream.sweep(heard + LIMITS.idle - 1)
        await settled()
        assert not client.aborted
        proxy.downstream.sweep(heard + LIMITS.idle + 1)
        await settled()
        [(_, payload)] = written(client, Kind.GOAWAY)
        assert (payload[:8], payload[8:]) == (b"\0\0\0\1" + bytes(4), b"idle timeout")
        assert client.aborted == "idle timeout"
        assert proxy.recorder.broken_off == []

    await spoken(body, chain=answering())


async def test_a_connection_with_an_exchange_is_not_idle():
    async def body(proxy):
        proxy.client.request()
        await proxy.carry()
        heard = proxy.downstream.link.heard_at
        for after in range(0, 250, 50):
            proxy.downstream.sweep(heard + after)
        await settled()
        assert not proxy.before.aborted
        [flight] = proxy.downstream.flights.values()
        assert repr(flight.down) == "<Http2Request <Lane 1 1 to read>>"

    await proxied(body)


UNFINISHED = {
    "half a preface": PREFACE[:10],
    "no settings": PREFACE,
    "half a frame": OPENING + headers(1, GET)[:20],
    "half a header block": OPENING + frame(Kind.HEADERS, 0, 1, block(GET)[:9]),
}


@pytest.mark.parametrize("name", UNFINISHED)
async def test_nobody_is_waited_for_in_the_middle_of_something(name):
    async def run():
        proxy = Proxied()
        proxy.before.say(UNFINISHED[name])
        await proxy.begin()
        began = proxy.downstream.link.heard_at
        proxy.downstream.sweep(began + LIMITS.head_timeout - 1)
        await settled()
        assert not proxy.before.aborted
        proxy.downstream.sweep(began + LIMITS.head_timeout + 1)
        await settled()
        assert proxy.before.aborted == "idle timeout"

    await in_background(run)


async def test_drips_of_a_header_block_win_no_time():
    async def body(proxy, client):
        octets = frame(Kind.HEADERS, END_HEADERS, 1, block(GET))
        client.say(octets[:5])
        await settled()
        began = proxy.downstream.link.heard_at
        proxy.downstream.sweep(began)
        client.say(octets[5:10])
        await settled()
        proxy.downstream.link.heard_at = began + 9
        proxy.downstream.sweep(began + 9)
        proxy.downstream.sweep(began + LIMITS.head_timeout + 1)
        await settled()
        assert client.aborted

    await spoken(body)


# -- taking leave ------------------------------------------------------------------------------------------------------


def last_streams(client):
    """What the GOAWAYs say that were written since the last look."""
    return [int.from_bytes(payload[:4], "big") for _, payload in written(client, Kind.GOAWAY)]


@pytest.mark.parametrize("how", ["draining", "retired"])
@pytest.mark.parametrize("answers", [True, False])
async def test_leave_is_taken_in_two_steps_and_costs_no_exchange(how, answers):
    async def body(proxy):
        client, app = proxy.client, proxy.app
        first = client.request(path=b"/first")
        await proxy.carry()
        if how == "draining":
            proxy.listener.draining = True
        else:
            proxy.downstream.retire()
        now = proxy.downstream.link.heard_at
        proxy.before.take_written()
        proxy.downstream.sweep(now)
        late = client.request(path=b"/late")
        proxy.before.say(client.say())  # it crosses the first step
        proxy.before.peer = client if answers else None
        await settled()
        assert last_streams(proxy.before) == ([LARGEST, late] if answers else [LARGEST])
        proxy.downstream.sweep(now + LAST_STEP / 2)
        await settled()
        assert last_streams(proxy.before) == []
        proxy.downstream.sweep(now + LAST_STEP + 0.1)
        await settled()
        assert last_streams(proxy.before) == ([] if answers else [late])
        for stream in list(app.heads):
            app.answer(stream, 204, end=True)
        await proxy.carry()
        assert not proxy.before.aborted
        assert [exchange.status for exchange in proxy.recorder.finished] == [204, 204]
        assert not answers or {first, late} <= client.ended
        proxy.downstream.sweep(now + LAST_STEP + 0.2)
        await settled()
        assert proxy.before.aborted == "draining"

    await proxied(body, client=OwnPeer)


async def test_what_comes_after_leave_is_not_begun():
    async def body(proxy, client):
        proxy.downstream.retire()
        proxy.downstream.sweep(proxy.downstream.link.heard_at)
        client.say(frame(Kind.PING, ACK, 0, b"meshdgo!") + headers(1, GET, end=True))
        await settled()
        assert last_streams(client) == [LARGEST, 0]
        assert proxy.recorder.finished == []

    await spoken(body, chain=answering())


@pytest.mark.parametrize("grpc", [False, True])
async def test_the_end_of_a_drain_ends_whatever_goes_on(grpc):
    async def body(proxy):
        client, app = proxy.client, proxy.app
        waiting = client.request(b"POST", b"/waiting", GRPC if grpc else [])
        half = client.request(b"POST", b"/half", GRPC if grpc else [])
        await proxy.carry()
        [stream] = [stream for stream in list(app.heads) if app.heads[stream][0][b":path"] == b"/half"]
        app.answer(stream, 200, GRPC if grpc else [])
        app.send(stream, b"half", end=False)
        await proxy.carry()
        proxy.downstream.cut_off()
        await proxy.carry()
        assert proxy.before.aborted == "drained"
        assert client.goaways == [(half, 0)]
        assert len(app.resets) == 2
        assert client.bodies[half] == b"half"
        if grpc:
            assert dict(client.trailers[half])[b"grpc-status"] == b"14"
            assert client.heads[waiting][0][b"grpc-status"] == b"14"
        else:
            assert client.resets == {waiting: Code.INTERNAL_ERROR, half: Code.INTERNAL_ERROR}
        assert len(proxy.recorder.finished) == 2

    await proxied(body)
