"""A race of two tries: only one of them ever speaks to the client."""

import pytest
from support.requests import exchange_of

from meshd.core.endpoint import Endpoint
from meshd.core.errors import DownstreamError, UpstreamError
from meshd.core.exchange import Attempt
from meshd.core.head import ResponseHead
from meshd.core.route import NO_RETRY, Route
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight
from meshd.proxy.hedge import Rival
from meshd.proxy.mirror import Nobody


class Client(Nobody):
    """Hears what is said to it."""

    def __init__(self):
        super().__init__(b"")
        self.heard = []

    async def respond(self, head, body, *, end):
        self.heard.append((head.status, body))

    async def send(self, data):
        self.heard.append(data)

    async def finish(self, trailers):
        self.heard.append(trailers)

    def abort(self, reason, status):
        self.heard.append(reason)

    def is_gone(self):
        return True


@pytest.fixture
def main():
    exchange = exchange_of(method="PUT", headers=[("x-a", "1")])
    exchange.route = Route("r", attempt_timeout=0.1, hedge=True)
    exchange.deadline = 15.0
    exchange.attempts.append(Attempt(Endpoint("10.0.0.1", 1), 0.0))
    flight = Flight(exchange, Client())
    flight.idle_timeout = 300.0
    return flight


def test_the_second_try_is_one_try_of_the_same_request(main):
    exchange = Rival(main, b"body").flight.exchange
    assert (exchange.head.authority, exchange.head.headers) == (b"a.test", [(b"x-a", b"1")])
    assert (exchange.head.length, exchange.started) == (4, main.exchange.started)
    assert (exchange.route.retry, exchange.route.hedge, exchange.route.attempt_timeout) == (NO_RETRY, False, None)
    assert exchange.attempts == main.exchange.attempts
    assert exchange.attempts is not main.exchange.attempts


async def test_who_answers_first_ends_the_other_and_speaks(main):
    rival = Rival(main, b"")
    await rival.respond(ResponseHead(200), b"a", end=False)
    await rival.send(b"b")
    await rival.finish([])
    assert main.down.heard == [(200, b"a"), b"b", []]
    assert main.cause is Cut.OVERTAKEN
    rival.lose()
    assert rival.flight.cause is None, "it is too late to lose"
    assert repr(rival) == "<Rival won>"


async def test_who_has_lost_cannot_speak(main):
    rival = Rival(main, b"")
    rival.lose()
    with pytest.raises(DownstreamError):
        await rival.respond(ResponseHead(200), b"", end=True)
    rival.abort("broken", 502)
    assert main.down.heard == []
    assert (rival.flight.cause, main.cause) == (Cut.GONE, None)


async def test_a_server_error_wins_only_when_nobody_else_is_left(main):
    rival = Rival(main, b"")
    with pytest.raises(DownstreamError):
        await rival.respond(ResponseHead(503), b"", end=True)
    rival = Rival(main, b"")
    rival.alone = True
    await rival.respond(ResponseHead(503), b"", end=True)
    assert main.down.heard == [(503, b"")]


async def test_the_exchange_learns_what_the_winner_learnt(main):
    rival = Rival(main, b"")

    async def carry(flight):
        flight.exchange.attempts.append(Attempt(Endpoint("10.0.0.2", 1), 0.1))
        flight.exchange.status, flight.exchange.bytes_sent, flight.exchange.ended = 200, 7, 0.3
        await rival.respond(ResponseHead(200), b"", end=True)

    await rival.run(carry)
    assert await rival.finish_race()
    exchange = main.exchange
    assert (exchange.status, exchange.bytes_sent, exchange.ended) == (200, 7, 0.3)
    assert [attempt.endpoint.address for attempt in exchange.attempts] == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize("responds", [False, True])
async def test_a_second_try_that_fails(main, responds):
    rival = Rival(main, b"")

    async def carry(_flight):
        if responds:
            await rival.respond(ResponseHead(200), b"", end=False)
        raise UpstreamError(502, "UC", "broken")

    await rival.run(carry)
    if responds:
        with pytest.raises(UpstreamError, match="broken"):
            await rival.finish_race()
    else:
        assert not await rival.finish_race()
        assert main.idle_deadline < float("inf"), "the first try's own failure or answer still has to be told"


def test_whatever_ends_the_exchange_ends_both(main):
    rival = Rival(main, b"")
    main.rival = rival.flight
    main.cut(Cut.DRAINED)
    assert rival.flight.cause is Cut.DRAINED
    rival = Rival(main, b"")
    main.rival = rival.flight
    main.sweep(1.0)
    assert rival.flight.cause is Cut.GONE, "the client has left"
