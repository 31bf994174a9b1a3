"""Pools over connections that a test makes and ends, and those who wait for one."""

from random import Random

import pytest
import trio
from support.background import settled
from support.connections import refused

from meshd.core.endpoint import Endpoint
from meshd.core.errors import UpstreamError
from meshd.upstream.pool import Pool, PoolSettings

now = trio.current_time
NEVER = float("inf")


def make_pool(dialler, changed=None, seed=1, **given):
    settings = PoolSettings(**{"warm": 0, "max_pending": 10, **given})
    return Pool(Endpoint("10.0.0.1", 80), dialler, settings, Random(seed), changed)


class Waiter:
    """One `acquire` under way in a nursery."""

    def __init__(self, nursery, pool, deadline):
        self.scope = trio.CancelScope()
        self.connection = self.error = self.ticket = None
        nursery.start_soon(self._run, pool, deadline)

    async def _run(self, pool, deadline):
        with self.scope:
            try:
                self.connection = await pool.acquire(now(), deadline, self._watch)
            except UpstreamError as error:
                self.error = error

    def _watch(self, ticket):
        self.ticket = ticket


async def line_up(nursery, pool, *deadlines):
    """One waiter for each, in this order."""
    waiters = []
    for deadline in deadlines:
        waiters.append(Waiter(nursery, pool, deadline))
        await settled()
    return waiters


async def fail_slowly(pool, dialler, rounds=2):
    """Dials that take a second and fail."""
    dialler.seconds, dialler.errors = 1.0, [refused() for _ in range(rounds)]
    for _ in range(rounds):
        with pytest.raises(UpstreamError):
            await pool.acquire(now())
    dialler.seconds = 0.0
