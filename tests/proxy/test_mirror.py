"""Copies of requests: what they say, how many there are, and that nobody waits for them."""

import pytest
import trio
from support.requests import exchange_of

from meshd.core.asked import Asked
from meshd.core.errors import UpstreamError
from meshd.http.events import END
from meshd.net import wait
from meshd.proxy.flight import Cut
from meshd.proxy.mirror import MOST, Copies, Nobody, copy_of, shadow


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("a.test", "a.test-shadow"),
        ("a.test:8080", "a.test-shadow:8080"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("[::1]", "[::1]"),
        ("[::1]:80", "[::1]:80"),
    ],
)
def test_the_host_says_that_it_is_a_copy(authority, expected):
    assert shadow(authority.encode()) == expected.encode()


def test_a_copy_is_the_same_request_and_shares_nothing_that_changes():
    exchange = exchange_of(target="/a?b=c", method="POST", headers=[("x-a", "1"), ("x-request-id", "7")])
    exchange.head.length = None
    exchange.head.expect_continue = True
    copy = copy_of(exchange, b"body", 5.0)
    head = copy.head
    assert (head.method, head.target, head.headers) == (b"POST", b"/a?b=c", exchange.head.headers)
    assert (head.length, head.expect_continue, copy.started) == (4, False, 5.0)
    head.headers.append((b"x-b", b"2"))
    assert len(exchange.head.headers) == 2
    assert copy.asked is None


async def test_nobody_has_said_everything_already():
    down = Nobody(b"body")
    assert [down.body_nowait(), down.body_nowait()] == [b"body", END]
    down = Nobody(b"")
    assert await down.read_body() is END
    assert not down.is_gone()


async def in_background(body):
    """Run `body` where the data path may spawn tasks."""
    await wait.background.run(body)


async def test_the_one_who_asks_does_not_wait_and_no_failure_comes_back(autojump_clock):
    done = []

    async def carry(flight):
        await trio.sleep(10)
        done.append(flight.exchange.head.authority)
        raise UpstreamError(503, "UF", "refused")

    async def body():
        copies = Copies()
        assert copies.start(exchange_of(), b"", carry)
        assert done == []
        assert repr(copies) == "<Copies 1 under way>"
        await trio.sleep(11)
        assert done == [b"a.test-shadow"]
        assert repr(copies) == "<Copies 0 under way>"

    await in_background(body)


async def test_there_are_never_more_than_the_most(autojump_clock):
    async def carry(flight):
        await trio.sleep(1)

    async def body():
        copies = Copies()
        started = [copies.start(exchange_of(), b"", carry) for _ in range(MOST + 5)]
        assert started == [True] * MOST + [False] * 5
        await trio.sleep(2)
        assert copies.start(exchange_of(), b"", carry)
        await trio.sleep(2)

    await in_background(body)


async def test_a_copy_that_takes_too_long_is_cut(autojump_clock):
    causes = []

    async def carry(flight):
        flight.exchange.deadline = wait.now() + 15
        await trio.sleep(16)
        causes.append(flight.cause)

    async def body():
        copies = Copies()
        for _ in range(2):  # the watch begins anew once there is something to watch
            assert copies.start(exchange_of(), b"", carry)
            await trio.sleep(20)
        assert causes == [Cut.TIMEOUT, Cut.TIMEOUT]

    await in_background(body)


async def test_what_filters_asked_for_is_sent_once(autojump_clock):
    sent = []

    async def carry(name, flight):
        sent.append(name)

    async def body():
        copies, exchange = Copies(), exchange_of()
        copies.send(exchange, b"", carry)  # nothing was asked for
        exchange.asked = Asked()
        exchange.asked.mirrors = ["a", "b"]
        copies.send(exchange, b"", carry)
        copies.send(exchange, b"", carry)
        await trio.sleep(1)
        assert sorted(sent) == ["a", "b"]

    await in_background(body)


async def test_a_request_for_another_protocol_is_not_copied(autojump_clock):
    async def carry(name, flight):
        raise AssertionError(name)

    async def body():
        copies, exchange = Copies(), exchange_of()
        exchange.asked = Asked()
        exchange.asked.mirrors = ["a"]
        exchange.head.upgrade = b"websocket"
        copies.send(exchange, b"", carry)
        await trio.sleep(1)
        assert exchange.asked.mirrors == []

    await in_background(body)


async def test_a_copy_that_is_one_too_many_is_noted(autojump_clock):
    async def carry(name, flight):
        await trio.sleep(1)

    async def body():
        copies, exchange = Copies(), exchange_of()
        exchange.asked = Asked()
        exchange.asked.mirrors = ["a"] * (MOST + 1)
        copies.send(exchange, b"", carry)
        assert exchange.facts == {"mirror": "no copy: too many are under way"}
        await trio.sleep(2)

    await in_background(body)
