"""Long work goes on in slices, and whoever waits has a turn between two of them."""

import time
from itertools import pairwise

import pytest
import trio

from meshd.net.pace import SLICE, Overtaken, between_requests


def busy(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


async def test_others_have_their_turn_after_every_slice():
    turns, taken = [], 0

    def work():
        nonlocal taken
        for _ in range(100):
            busy(SLICE / 4)
            taken += 1
            yield
        return "done"

    async def other():
        while True:
            turns.append(taken)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await between_requests(work()) == "done"
        nursery.cancel_scope.cancel()
    most = max(later - earlier for earlier, later in pairwise(turns))
    assert 1 <= most <= 10  # a slice holds 4 or 5 steps, and the order of two whose turn it is is anybody's
    assert taken == 100


async def test_short_work_is_done_at_once():
    def work():
        yield
        return "done"

    with trio.CancelScope() as scope:
        scope.cancel()
        assert await between_requests(work()) == "done"  # it never came to a checkpoint


async def test_what_it_raises_comes_through():
    def work():
        yield
        raise KeyError("web")

    with pytest.raises(KeyError):
        await between_requests(work())


async def test_who_is_overtaken_stops_between_two_steps():
    taken, closed = [], []

    def work():
        try:
            while True:
                taken.append(1)
                yield
        finally:
            closed.append(1)

    with pytest.raises(Overtaken):
        await between_requests(work(), lambda: bool(taken))
    assert closed
