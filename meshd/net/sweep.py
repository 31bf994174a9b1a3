"""Deadlines, swept: one task a worker looks at everything under way and ends what is overdue.

A cancel scope around every attempt costs 11 us; a number compared twenty times a second costs nothing. The price is a
grain of one interval, which is added to a deadline at worst.
"""

import socket
from typing import Protocol

from meshd.core.steps import Steps
from meshd.net import wait
from meshd.net.pace import between_requests

INTERVAL = 0.05  # seconds
FEW = 16  # items looked at in one step


class Sweepable(Protocol):
    """Something with deadlines of its own."""

    def sweep(self, now: float) -> None:
        """End whatever is overdue at `now`."""


class Sweeper:
    """The things under way, in no order."""

    __slots__ = ("_items", "_some")

    def __init__(self) -> None:
        self._items: set[Sweepable] = set()
        self._some = wait.Event()

    def add(self, item: Sweepable) -> None:
        """Sweep `item` from now on."""
        self._items.add(item)
        self._some.set()

    def discard(self, item: Sweepable) -> None:
        """Leave `item` alone from now on."""
        self._items.discard(item)

    async def run(self) -> None:
        """Sweep for ever; sleeps without waking while there is nothing to sweep."""
        while True:
            if not self._items:
                self._some = wait.Event()
                await self._some.wait()
            await wait.sleep_until(wait.now() + INTERVAL)
            await between_requests(self._sweeping())

    def _sweeping(self) -> Steps[None]:
        """Look at each. Thousands may be overdue at once, and closing each takes a moment."""
        items, now = self._items, wait.now()
        for count, item in enumerate(tuple(items)):
            if item in items:
                item.sweep(now)
            if not count % FEW:
                yield
                now = wait.now()

    def __repr__(self) -> str:
        return f"<Sweeper {len(self._items)} under way>"


class SocketDeadline:
    """A time limit on connecting or shaking hands: overdue, its sockets are closed under whoever waits on them."""

    __slots__ = ("_socks", "deadline", "overdue")

    def __init__(self, deadline: float, sock: socket.socket | None = None) -> None:
        self.deadline = deadline
        self.overdue = False
        self._socks = [] if sock is None else [sock]

    def watch(self, sock: socket.socket) -> None:
        """Close one more."""
        self._socks.append(sock)

    def sweep(self, now: float) -> None:
        """Close what is open once its time is over."""
        if now > self.deadline and not self.overdue:
            self.overdue = True
            for sock in self._socks:
                if sock.fileno() >= 0:
                    wait.close(sock)
