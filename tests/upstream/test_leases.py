"""Who has which connection: taken, shared, given back, and closed by whom."""

import pytest
import trio
import trio.testing
from support.background import settled
from support.connections import FakeDialler
from support.pools import NEVER, line_up, make_pool, now

from meshd.core.errors import UpstreamError

# -- taking and giving back --------------------------------------------------------------------------------------------


async def test_the_connection_used_last_is_taken_first():
    pool = make_pool(FakeDialler())
    one, two = await pool.acquire(now()), await pool.acquire(now())
    pool.release(one, now(), reusable=True)
    pool.release(two, now(), reusable=True)
    assert pool.take(now()) is two
    assert pool.take(now()) is one
    assert pool.take(now()) is None
    assert (one.uses, two.uses) == (1, 1)


async def test_one_that_died_while_idle_is_closed_and_the_next_is_taken():
    pool = make_pool(FakeDialler())
    one, two = await pool.acquire(now()), await pool.acquire(now())
    for each in (one, two):
        pool.release(each, now(), reusable=True)
    two.dead = True
    assert pool.take(now()) is one
    assert two.closed
    assert pool.statistics().stale == 1
    assert pool.live == 1


@pytest.mark.parametrize(
    ("careful", "quiet", "asked"), [(True, True, 1), (True, False, 1), (False, False, 1), (False, True, 0)]
)
async def test_the_kernel_is_asked_unless_the_request_can_be_sent_again_and_nothing_was_heard(careful, quiet, asked):
    pool = make_pool(FakeDialler())
    connection = await pool.acquire(now())
    pool.release(connection, now(), reusable=True)
    connection.quiet = quiet
    assert pool.take(now(), careful=careful) is connection
    assert connection.asked == asked


async def test_what_may_not_be_used_again_is_closed():
    pool = make_pool(FakeDialler())
    connection = await pool.acquire(now())
    pool.release(connection, now(), reusable=False)
    assert connection.closed
    assert (pool.live, pool.take(now())) == (0, None)


async def test_giving_back_what_is_not_leased_is_a_bug():
    pool = make_pool(FakeDialler())
    connection = await pool.acquire(now())
    pool.release(connection, now(), reusable=True)
    with pytest.raises(AssertionError, match="not leased"):
        pool.release(connection, now(), reusable=True)


# -- connections that carry several ------------------------------------------------------------------------------------


async def test_a_connection_with_room_is_shared_before_another_is_dialled(autojump_clock):
    dialler = FakeDialler(streams=2)
    pool = make_pool(dialler)
    first = await pool.acquire(now())
    assert pool.take(now()) is first
    assert pool.take(now()) is None  # full
    second = await pool.acquire(now())
    assert second is not first
    second.room = False  # its peer is going away
    assert pool.take(now()) is None
    pool.release(first, now(), reusable=True)
    assert pool.take(now()) is first
    assert pool.statistics().leased == 2


async def test_a_fresh_connection_is_shared_with_those_in_line(autojump_clock):
    dialler = FakeDialler(streams=3, by_hand=True)
    pool = make_pool(dialler, max_connections=1)
    async with trio.open_nursery() as nursery:
        waiters = await line_up(nursery, pool, *[NEVER] * 4)
        dialler.under_way[0].succeed()
        await settled()
        assert [waiter.connection is not None for waiter in waiters] == [True, True, True, False]
        pool.release(dialler.made[0], now(), reusable=True)
    assert waiters[3].connection is dialler.made[0]


async def test_a_broken_shared_connection_closes_with_the_last_exchange():
    pool = make_pool(FakeDialler(streams=2))
    connection = await pool.acquire(now())
    assert pool.take(now()) is connection
    pool.release(connection, now(), reusable=False)
    assert not connection.closed
    assert pool.take(now()) is None
    pool.release(connection, now(), reusable=True)
    assert connection.closed
    assert pool.live == 0


async def test_an_idle_shared_connection_is_shared_again():
    pool = make_pool(FakeDialler(streams=2))
    connection = await pool.acquire(now())
    pool.release(connection, now(), reusable=True)
    assert pool.statistics().idle == 1
    assert pool.take(now()) is pool.take(now()) is connection


async def test_an_old_shared_connection_takes_nobody_more():
    pool = make_pool(FakeDialler(streams=2), max_lifetime=100.0)
    connection = await pool.acquire(now())
    assert pool.take(connection.born + 200.0) is None
    pool.release(connection, connection.born + 200.0, reusable=True)
    assert connection.closed


async def test_a_fresh_connection_is_given_to_no_more_than_its_peer_lets_begin(autojump_clock):
    """None of them has begun when the last of them is given it."""
    dialler = FakeDialler(streams=100, granted=2, by_hand=True)
    pool = make_pool(dialler, multiplexed=True)
    async with trio.open_nursery() as nursery:
        waiters = await line_up(nursery, pool, *[NEVER] * 5)
        for turn in range(3):
            dialler.under_way[0].succeed()
            await settled()
            assert [waiter.connection for waiter in waiters].count(dialler.made[turn]) == min(2, 5 - 2 * turn)


async def test_an_idle_connection_whose_peer_lets_nobody_begin_is_passed_over(autojump_clock):
    dialler = FakeDialler(streams=2)
    pool = make_pool(dialler)
    full = await pool.acquire(now())
    pool.release(full, now(), reusable=True)
    full.room = False  # SETTINGS_MAX_CONCURRENT_STREAMS of 0
    assert pool.take(now()) is None
    other = await pool.acquire(now())
    assert other is not full
    pool.release(other, now(), reusable=True)
    assert pool.take(now()) is other
    full.room = True
    other.room = False
    assert pool.take(now()) is full


# -- while clients that read nothing hold connections ------------------------------------------------------------------


async def test_the_last_in_line_is_first_while_slow_readers_hold_connections():
    pool = make_pool(FakeDialler(), max_connections=1)
    leased = await pool.acquire(now())
    async with trio.open_nursery() as nursery:
        first, second = await line_up(nursery, pool, NEVER, NEVER)
        assert pool.waiting == 2
        pool.patience = 1
        pool.release(leased, now(), reusable=True)
        await settled()
        assert (first.connection, second.connection) == (None, leased)
        pool.patience = 0
        pool.release(leased, now(), reusable=True)
        await settled()
        assert first.connection is leased


async def test_the_line_is_longer_by_those_that_are_being_freed():
    pool = make_pool(FakeDialler(), max_connections=1, max_pending=1)
    await pool.acquire(now())
    async with trio.open_nursery() as nursery:
        await line_up(nursery, pool, NEVER)
        with pytest.raises(UpstreamError, match="overflow"):
            await pool.acquire(now())
        pool.patience = 1
        await line_up(nursery, pool, NEVER)
        assert pool.waiting == 2
        nursery.cancel_scope.cancel()
