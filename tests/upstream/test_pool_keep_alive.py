"""Connections to a server that may serve one at a time: none is kept that would freeze it for others."""

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.background import in_background, settled
from support.connections import FakeDialler, refused
from support.pools import make_pool, now

from meshd.upstream.keep_alive import TRIAL


async def exchange(pool):
    """A whole one, alone."""
    connection = pool.take(now()) or await pool.acquire(now())
    pool.release(connection, now(), reusable=True)
    return connection


async def test_nothing_is_dialled_before_there_is_a_request(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, prove=True, eager=False)
    await pool.fill()
    pool.sweep(now())
    assert (dialler.begun, pool.warming) == (0, False)


async def test_an_eager_one_sees_that_the_server_is_there_and_leaves(autojump_clock):
    async def run():
        dialler = FakeDialler()
        dialler.errors = [refused()]
        pool = make_pool(dialler, prove=True)
        await pool.fill()
        assert pool.warming  # so others are asked
        await trio.sleep(1)
        pool.sweep(now())
        await settled()
        assert not pool.warming
        await trio.sleep(TRIAL + 0.01)
        assert (dialler.begun, dialler.open) == (2, [])
        pool.sweep(now())
        await settled()
        assert dialler.begun == 2

    await in_background(run)


async def test_after_an_exchange_the_connection_is_given_back_at_once(autojump_clock):
    async def run():
        dialler = FakeDialler()
        pool = make_pool(dialler, prove=True)
        await exchange(pool)
        await trio.sleep(TRIAL + 0.01)
        assert dialler.open == []
        assert pool.statistics().live == 0

    await in_background(run)


async def test_without_a_background_the_sweep_gives_it_back(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, prove=True)
    await exchange(pool)
    assert pool.statistics().idle == 1
    await trio.sleep(TRIAL)
    pool.sweep(now())
    assert dialler.open == []


async def test_a_server_that_answers_beside_an_open_connection_keeps_one_and_then_more(autojump_clock):
    async def run():
        dialler = FakeDialler()
        pool = make_pool(dialler, prove=True)
        first, second = await exchange(pool), await exchange(pool)
        assert first is not second  # the second asked beside the first
        assert await exchange(pool) is first
        assert dialler.begun == 2
        held = [pool.take(now()) or await pool.acquire(now()) for _ in range(5)]
        for connection in held:
            pool.release(connection, now(), reusable=True)
        await trio.sleep(1)
        assert pool.statistics().idle == 5  # of six that were open together, the one on trial among them
        assert await exchange(pool) in dialler.open
        assert dialler.begun == 6

    await in_background(run)


async def test_who_has_to_wait_during_a_trial_ends_trials_for_a_while(autojump_clock):
    async def run():
        dialler = FakeDialler()
        pool = make_pool(dialler, prove=True)
        await exchange(pool)
        waiting = await pool.acquire(now())  # is not answered before the first connection ends
        await trio.sleep(TRIAL + 0.01)
        assert dialler.open == [waiting]
        pool.release(waiting, now(), reusable=True)
        assert dialler.open == []  # not kept for a moment
        await exchange(pool)
        assert dialler.open == []
        await trio.sleep(1)
        await exchange(pool)
        assert len(dialler.open) == 1  # on trial again

    await in_background(run)


async def test_a_connection_whose_peer_has_left_shows_nothing(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, prove=True)
    first = await exchange(pool)
    first.dead = True  # so the server was free to answer the next
    await exchange(pool)
    await exchange(pool)
    assert dialler.begun == 3


async def test_a_trial_makes_room_when_no_more_connections_are_allowed(autojump_clock):
    dialler = FakeDialler()
    pool = make_pool(dialler, prove=True, max_connections=1)
    await exchange(pool)
    await exchange(pool)
    assert dialler.begun == 2
    assert len(dialler.open) == 1


async def test_a_floor_that_somebody_asked_for_is_kept(autojump_clock):
    async def run():
        dialler = FakeDialler()
        pool = make_pool(dialler, prove=True, warm=2)
        await pool.fill()
        for _ in range(3):
            await exchange(pool)
        await trio.sleep(1)
        pool.sweep(now())
        assert (dialler.begun, len(dialler.open)) == (2, 2)

    await in_background(run)


async def test_closing_and_expelling_take_the_one_on_trial_too(autojump_clock):
    for end in (lambda pool: pool.close(), lambda pool: pool.expel(lambda _: False)):
        dialler = FakeDialler()
        pool = make_pool(dialler, prove=True)
        await exchange(pool)
        end(pool)
        assert dialler.open == []


class Server:
    """`places` processes that each serve one connection until it ends, in the order they came."""

    def __init__(self, places, dialler):
        self.places = places
        self.dialler = dialler

    def serves(self, connection):
        return connection in self.dialler.open[: self.places]


@given(places=st.integers(1, 4), steps=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=25))
def test_a_server_is_never_frozen(places, steps):
    """Whatever comes when: soon after it, one process is free again, for whoever is not us."""

    async def run():
        dialler = FakeDialler()
        pool = make_pool(dialler, prove=True, idle_timeout=1000.0)
        server, leased = Server(places, dialler), []
        for wanted, patient in steps:
            leased += [pool.take(now()) or await pool.acquire(now()) for _ in range(wanted)]
            while leased:
                answered = [connection for connection in leased if server.serves(connection)]
                if not answered:
                    await trio.sleep(1.01 * TRIAL)  # the one on trial goes
                    answered = [connection for connection in leased if server.serves(connection)]
                assert answered, "nobody is served any more"
                leased.remove(answered[0])
                pool.release(answered[0], now(), reusable=True)
            await trio.sleep(1.01 * TRIAL if patient else TRIAL / 7)
            if patient:
                assert len(dialler.open) < places

    trio.run(in_background, run, clock=trio.testing.MockClock(autojump_threshold=0))
