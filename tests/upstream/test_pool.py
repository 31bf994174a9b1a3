"""A pool case by case: the line, dialling, the warm floor, age. That it keeps its laws in any order of events is shown
by the machine beside this file."""

from functools import partial

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.background import in_background, settled
from support.connections import FakeConnection, FakeDialler, refused
from support.pools import NEVER, Waiter, fail_slowly, line_up, make_pool, now

from meshd.core import flags
from meshd.core.errors import Resend, UpstreamError
from meshd.upstream.pool import LIFETIME_JITTER

# -- standing in line --------------------------------------------------------------------------------------------------


async def test_no_more_than_the_bound_and_served_in_turn(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, max_connections=2)
    async with trio.open_nursery() as nursery:
        waiters = await line_up(nursery, pool, *[NEVER] * 4)
        assert [waiter.connection is not None for waiter in waiters] == [True, True, False, False]
        assert repr(pool) == "<Pool 10.0.0.1:80 2/2 leased, 0 idle, 2 waiting>"
        pool.release(waiters[1].connection, now(), reusable=True)
        await settled()
        assert waiters[2].connection is waiters[1].connection
        pool.release(waiters[0].connection, now(), reusable=False)  # room for the last to dial
        await settled()
        assert waiters[3].connection is dialler.made[2]
    assert dialler.begun == 3


async def test_one_more_than_may_wait_is_told_why():
    pool = make_pool(FakeDialler(), max_connections=1, max_pending=0)
    await pool.acquire(now())
    with pytest.raises(UpstreamError, match=r"1 of 1 connections \(max_connections\) to 10.0.0.1:80 in use") as caught:
        await pool.acquire(now())
    assert (caught.value.status, caught.value.flag, caught.value.retry) == (503, flags.OVERFLOW, Resend.UNSENT)
    assert pool.statistics().overflowed == 1


async def test_whoever_waited_too_long_is_told_and_is_out_of_the_line(autojump_clock):
    pool = make_pool(FakeDialler(), max_connections=1)
    held = await pool.acquire(now())
    async with trio.open_nursery() as nursery:
        swept, patient, cut = await line_up(nursery, pool, now() + 1, now() + 9, now() + 9)
        await trio.sleep(1)
        pool.sweep(now())
        cut.ticket.expire()
        cut.ticket.expire()  # the second time says nothing new
        await settled()
        for waiter in (swept, cut):
            assert (waiter.error.status, waiter.error.flag) == (504, flags.REQUEST_TIMEOUT)
            assert waiter.error.retry is Resend.NEVER
        assert (pool.statistics().waiting, pool.statistics().expired) == (1, 1)
        pool.release(held, now(), reusable=True)
    assert patient.connection is held


async def test_who_is_cancelled_leaves_the_line(autojump_clock):
    pool = make_pool(FakeDialler(), max_connections=1)
    held = await pool.acquire(now())
    async with trio.open_nursery() as nursery:
        gone, stays = await line_up(nursery, pool, NEVER, NEVER)
        gone.scope.cancel()
        await settled()
        assert pool.statistics().waiting == 1
        pool.release(held, now(), reusable=True)
    assert stays.connection is held


@pytest.mark.parametrize("reusable", [True, False])
async def test_what_the_cancelled_was_given_in_the_same_turn_goes_to_the_next(reusable, autojump_clock):
    pool = make_pool(FakeDialler(), max_connections=1)
    held = await pool.acquire(now())
    async with trio.open_nursery() as nursery:
        gone, stays = await line_up(nursery, pool, NEVER, NEVER)
        gone.scope.cancel()
        pool.release(held, now(), reusable=reusable)  # before `gone` has run again
        assert gone.ticket.connection is (held if reusable else None)
        assert gone.ticket.permit is not reusable
    assert gone.connection is None
    assert (stays.connection is held) is reusable
    assert pool.live == 1


async def test_a_cancelled_dial_makes_room_for_the_next(autojump_clock):
    dialler = FakeDialler(by_hand=True)
    pool = make_pool(dialler, max_connections=1)
    async with trio.open_nursery() as nursery:
        gone, stays = await line_up(nursery, pool, NEVER, NEVER)
        gone.scope.cancel()
        await settled()
        assert pool.statistics().dialling == len(dialler.under_way) == 1
        dialler.under_way[0].succeed()
    assert stays.connection is dialler.made[0]


async def test_a_connection_that_died_while_it_was_used_was_handed_to_the_line(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, max_connections=1)
    held = await pool.acquire(now())
    async with trio.open_nursery() as nursery:
        [waiter] = await line_up(nursery, pool, NEVER)
        held.dead = True
        pool.release(held, now(), reusable=True)
    assert held.closed
    assert waiter.connection is dialler.made[1]
    assert pool.statistics().stale == 1


async def test_nobody_overtakes_those_in_line(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, max_connections=3)
    await pool.acquire(now())
    await fail_slowly(pool, dialler)
    async with trio.open_nursery() as nursery:
        [first] = await line_up(nursery, pool, NEVER)  # held, and hoping for the one that lives
        await trio.sleep(1.0)  # dialling is allowed again, but no sweep has seen it yet
        [late] = await line_up(nursery, pool, NEVER)
        assert pool.statistics().waiting == 2
        pool.sweep(now())
    assert [first.connection, late.connection] == dialler.made[1:]


async def test_a_caller_that_nobody_watches_waits_all_the_same(autojump_clock):
    pool = make_pool(FakeDialler(), max_connections=1)
    held = await pool.acquire(now())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.acquire, now())
        await settled()
        assert pool.statistics().waiting == 1
        pool.release(held, now(), reusable=True)
    assert pool.statistics().leased == 1


# -- failing dials -----------------------------------------------------------------------------------------------------


async def test_a_failed_dial_fails_its_own_request_only(autojump_clock):
    dialler = FakeDialler(by_hand=True)
    pool = make_pool(dialler, max_connections=1)
    async with trio.open_nursery() as nursery:
        first, second = await line_up(nursery, pool, NEVER, NEVER)
        dialler.under_way[0].fail()
        await settled()
        assert first.error.flag == flags.CONNECTION_FAILURE
        dialler.under_way[0].succeed()
    assert second.connection is dialler.made[0]
    assert pool.statistics().failed == 1


async def test_what_looks_like_a_refusal_in_clear_held_an_endpoint_that_had_answered(autojump_clock):
    """Anybody can write an alert in clear; who speaks nothing but TLS has never answered there."""
    pool = make_pool(FakeDialler(), warm=0)
    alert = UpstreamError(
        502, flags.CONNECTION_FAILURE, "alert", retry=Resend.IF_SAFE, proxy_error="tls_alert_received"
    )

    async def turned_away():
        connection = await pool.acquire(now(), fresh=True)
        connection.refusal, connection.tls = alert, None
        pool.release(connection, now(), reusable=False)

    for _ in range(2):
        await turned_away()
    assert pool.held_until > now()
    await trio.sleep(10)
    answered = await pool.acquire(now(), fresh=True)
    pool.release(answered, now(), reusable=True)
    for _ in range(3):
        await turned_away()
    assert pool.held_until <= now()
    assert pool.holding.last.proxy_error == "tls_alert_received"


async def test_after_slow_failures_requests_are_turned_away_at_once(autojump_clock):
    told = []
    dialler = FakeDialler()
    pool = make_pool(dialler, lambda: told.append(pool.held_until))
    await fail_slowly(pool, dialler)
    began = now()
    assert told == [pool.held_until] == [began + 1.0]
    with pytest.raises(UpstreamError, match="after 2 attempts in a row, the last: connection refused"):
        await pool.acquire(now())
    assert now() == began
    await trio.sleep(1.0)
    await pool.acquire(now())
    assert pool.held_until == 0.0


async def test_one_finds_out_while_the_others_go_elsewhere(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler)
    await fail_slowly(pool, dialler)
    await trio.sleep(1.0)
    dialler.by_hand = True
    async with trio.open_nursery() as nursery:
        probe, other = await line_up(nursery, pool, NEVER, NEVER)
        assert other.error.flag == flags.NO_HEALTHY_UPSTREAM
        assert other.error.retry is Resend.UNSENT
        dialler.under_way[0].succeed()
    assert probe.connection is not None


async def test_fast_failures_hold_nobody(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler)
    dialler.errors = [refused() for _ in range(5)]
    for _ in range(5):
        with pytest.raises(UpstreamError, match="refused"):
            await pool.acquire(now())
    assert await pool.acquire(now()) is dialler.made[0]


async def test_with_nothing_alive_those_in_line_are_turned_away(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, max_connections=1)
    await fail_slowly(pool, dialler, rounds=1)
    dialler.seconds, dialler.errors = 1.0, [refused()]
    async with trio.open_nursery() as nursery:
        waiters = await line_up(nursery, pool, *[NEVER] * 3)
    assert [waiter.error.flag for waiter in waiters] == [flags.CONNECTION_FAILURE] + [flags.NO_HEALTHY_UPSTREAM] * 2


async def test_those_in_line_went_on_waiting_when_the_endpoint_was_back(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, max_connections=3)
    held = await pool.acquire(now())
    await fail_slowly(pool, dialler)
    async with trio.open_nursery() as nursery:
        waiters = await line_up(nursery, pool, NEVER, NEVER)  # in line, because `held` may come free
        assert pool.statistics().waiting == 2
        await trio.sleep(1.0)
        pool.sweep(now())  # permits one to find out
        await settled()
        assert [waiter.connection is not None for waiter in waiters] == [True, True]
    assert held not in {waiter.connection for waiter in waiters}


# -- the warm floor ----------------------------------------------------------------------------------------------------


async def test_an_eager_floor_is_there_before_any_request():
    told = []
    dialler = FakeDialler()
    pool = make_pool(dialler, lambda: told.append(pool.warming), warm=3)
    assert pool.warming
    await pool.fill()
    assert not pool.warming
    assert told == [False]
    assert pool.statistics().idle == dialler.begun == 3
    await pool.fill()
    assert dialler.begun == 3


async def test_a_floor_above_the_bound_fills_to_the_bound():
    dialler = FakeDialler()
    pool = make_pool(dialler, warm=3, max_connections=2)
    await pool.fill()
    assert pool.live == 2


async def test_filling_stops_at_a_failure_and_the_background_takes_over(autojump_clock):
    async def body():
        dialler = FakeDialler()
        dialler.errors = [refused()]
        pool = make_pool(dialler, warm=2)
        await pool.fill()
        assert (pool.live, pool.warming) == (0, True)
        pool.sweep(now())  # not at once after a failure
        await settled()
        assert dialler.begun == 1
        await trio.sleep(0.2)
        pool.sweep(now())
        await settled()
        assert pool.live == 1  # one at a time, until one has succeeded
        pool.sweep(now())
        await settled()
        assert pool.live == 2

    await in_background(body)


async def test_a_lazy_floor_waits_for_the_first_request(autojump_clock):
    async def body():
        pool = make_pool(FakeDialler(), warm=3, eager=False)
        assert not pool.warming
        pool.sweep(now())
        await settled()
        assert pool.live == 0
        await pool.acquire(now())
        pool.sweep(now())
        await settled()
        assert (pool.live, pool.statistics().idle) == (3, 2)

    await in_background(body)


async def test_all_that_is_missing_is_dialled_at_once(autojump_clock):
    async def body():
        dialler = FakeDialler(seconds=1.0)
        pool = make_pool(dialler, warm=3)
        await pool.fill()
        assert (now(), dialler.most) == (3.0, 1)
        for connection in dialler.made:
            connection.dead = True
        pool.sweep(now())
        await trio.sleep(1.5)
        assert (pool.statistics().idle, dialler.most) == (3, 3)

    await in_background(body)


async def test_a_dial_for_the_floor_is_not_needed_when_a_request_was_quicker():
    async def body():
        dialler = FakeDialler()
        pool = make_pool(dialler, warm=1)
        pool.sweep(now())
        ticket = pool.enter(now(), NEVER)  # in the same turn
        await settled()
        assert (ticket.permit, dialler.begun) == (True, 0)
        pool.abandon(ticket)
        pool.sweep(now())
        await settled()
        assert (dialler.begun, pool.statistics().idle) == (1, 1)

    await in_background(body)


# -- growing old -------------------------------------------------------------------------------------------------------


async def test_idle_connections_end_in_time_down_to_the_floor(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, warm=1, idle_timeout=40.0)
    leased = [await pool.acquire(now()) for _ in range(3)]
    for connection in leased:
        pool.release(connection, now(), reusable=True)
    await trio.sleep(39.5)
    pool.sweep(now())
    assert pool.live == 3
    await trio.sleep(0.5)
    pool.sweep(now())
    assert dialler.open == [leased[2]]


async def test_a_sweep_that_is_told_who_died_asks_nobody():
    pool = make_pool(FakeDialler())
    one, two = await pool.acquire(now()), await pool.acquire(now())
    for connection in (one, two):
        pool.release(connection, now(), reusable=True)
    pool.sweep(now(), {one})
    assert (one.closed, two.closed, one.asked, two.asked) == (True, False, 0, 0)
    two.dead = True
    pool.sweep(now())
    assert (two.closed, two.asked, pool.statistics().stale) == (True, 1, 2)


@given(st.integers(0, 1 << 30), st.booleans())
def test_lifetimes_stay_within_the_jitter(seed, idle):
    async def body():
        connection = FakeConnection(born=0.0)
        pool = make_pool(partial(answer, connection), seed=seed, max_lifetime=100.0, idle_timeout=1e9)
        assert await pool.acquire(0.0) is connection
        for age in (100 * (1 - LIFETIME_JITTER) - 0.01, 100 * (1 + LIFETIME_JITTER)):
            assert not connection.closed
            pool.release(connection, age if not idle else 0.0, reusable=True)
            pool.sweep(age)
            if not connection.closed:
                assert pool.take(age) is connection
        assert connection.closed

    trio.run(body)


async def answer(connection):
    return connection


async def test_connections_made_together_do_not_end_together(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, max_lifetime=100.0, idle_timeout=1e9)
    for connection in [await pool.acquire(now()) for _ in range(20)]:
        pool.release(connection, now(), reusable=True)
    left = []
    for _ in range(21):
        pool.sweep(90.0 + len(left))
        left.append(pool.live)
    assert len(set(left)) > 8


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_a_closed_pool_keeps_nothing_and_serves_whoever_is_in_line(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, max_connections=2, warm=2)
    held, idle = await pool.acquire(now()), await pool.acquire(now())
    async with trio.open_nursery() as nursery:
        [waiter] = await line_up(nursery, pool, NEVER)
        pool.release(idle, now(), reusable=True)
        await settled()
        pool.release(held, now(), reusable=True)
        pool.close()
        assert held.closed
        [late] = await line_up(nursery, pool, NEVER)
    assert waiter.connection is idle
    assert late.connection is dialler.made[2]
    pool.release(idle, now(), reusable=True)
    pool.release(late.connection, now(), reusable=True)
    pool.sweep(now())
    assert (pool.live, dialler.open) == (0, [])


@pytest.mark.parametrize("streams", [1, 2])
async def test_whose_peer_is_not_trusted_any_more_takes_no_other_request(streams):
    """One that was idle carried one more, until the next sweep."""
    pool = make_pool(FakeDialler(streams=streams))
    leased = await pool.acquire(now())
    if streams > 1:
        pool.take(now())  # full, so that the others are of their own
    idle, good = await pool.acquire(now()), await pool.acquire(now(), fresh=True)
    for connection in (idle, good):
        pool.release(connection, now(), reusable=True)
    pool.expel(lambda connection: connection is good)
    assert (leased.closed, idle.closed, good.closed) == (False, True, False)
    assert pool.take(now()) is good
    for _ in range(streams):
        assert not leased.closed
        pool.release(leased, now(), reusable=True)
    assert leased.closed
    assert pool.live == 1


async def test_more_than_one_is_dialled_where_one_does_not_serve_all_in_line(autojump_clock):
    dialler = FakeDialler(streams=100, by_hand=True)
    pool = make_pool(dialler, multiplexed=True, max_pending=1000)
    async with trio.open_nursery() as nursery:
        for _ in range(250):
            Waiter(nursery, pool, NEVER)
        await settled()
        assert (dialler.begun, pool.statistics().waiting) == (3, 247)
        while dialler.under_way:
            dialler.under_way[0].succeed()
            await settled()
    assert pool.statistics().leased == 3


@pytest.mark.parametrize("leases", [0, 1])
async def test_those_in_line_are_served_when_a_peer_lets_more_begin(leases, autojump_clock):
    pool = make_pool(FakeDialler(streams=3), max_connections=1)
    held = await pool.acquire(now())
    async with trio.open_nursery() as nursery:
        held.room = False
        waiters = await line_up(nursery, pool, NEVER, NEVER)
        if not leases:
            pool.release(held, now(), reusable=True)
        pool.sweep(now())
        assert pool.statistics().waiting == 2
        held.room = True
        pool.sweep(now())
    assert [waiter.connection for waiter in waiters] == [held, held]
