"""Deadlines are kept to one interval, and cost nothing when there are none."""

import socket
import time

import trio

from meshd.net.pace import SLICE
from meshd.net.sweep import INTERVAL, SocketDeadline, Sweeper


class Item:
    def __init__(self, deadline):
        self.deadline = deadline
        self.ended_at = None

    def sweep(self, now):
        if now > self.deadline and self.ended_at is None:
            self.ended_at = now


async def test_what_is_overdue_ends_within_one_interval(autojump_clock):
    sweeper = Sweeper()
    early, late = Item(1.0), Item(2.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweeper.run)
        await trio.testing.wait_all_tasks_blocked()
        sweeper.add(early)
        sweeper.add(late)
        await trio.sleep(1.5)
        assert 1.0 < early.ended_at <= 1.0 + 2 * INTERVAL
        assert late.ended_at is None
        sweeper.discard(late)
        await trio.sleep(1.5)
        assert late.ended_at is None
        nursery.cancel_scope.cancel()


async def test_an_overdue_socket_is_closed_under_its_waiter(autojump_clock):
    left, right = socket.socketpair()
    left.setblocking(False)
    limit = SocketDeadline(5.0, left)
    woken = []

    async def waiter():
        try:
            await trio.lowlevel.wait_readable(left)
        except trio.ClosedResourceError:
            woken.append("closed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await trio.testing.wait_all_tasks_blocked()
        limit.sweep(4.0)
        assert not woken
        assert left.fileno() >= 0
        limit.sweep(5.1)
        limit.sweep(5.2)
    assert woken == ["closed"]
    assert limit.overdue
    right.close()


async def test_thousands_that_are_overdue_at_once_leave_others_their_turn():
    class Slow:
        """Takes a tenth of a slice to end."""

        def sweep(self, now):
            until = time.perf_counter() + SLICE / 10
            while time.perf_counter() < until:
                pass
            swept.append(1)

    sweeper, swept, seen = Sweeper(), [], []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweeper.run)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(640):
            sweeper.add(Slow())
        while len(swept) < 640:
            seen.append(len(swept))
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert len(set(seen)) > 5  # not all in one go
