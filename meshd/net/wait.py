"""The one place where the data path waits.

Theory of operation: `proxy/`, `http/` and `upstream/` are straight-line `async def` code that waits through this module
only, so that its driver can be changed without touching them. On trio tasks these are thin names for trio's own
primitives. Rule 1: no nursery and no cancel scope inside an exchange; deadlines are numbers, swept by one task a worker
(`net/sweep.py`), which ends what is overdue by aborting the stream or setting the event that somebody waits on.
Rule 2: `spawn` is for work that outlives the caller's next step (a body that still streams, a connection dialled to keep
the pool warm); a spawned task never brings down the worker, its crash is counted and reported.
"""

import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple

import trio

Ts = TypeVarTuple("Ts")

readable = trio.lowlevel.wait_readable
writable = trio.lowlevel.wait_writable
now = trio.current_time
Event = trio.Event
Closed = trio.ClosedResourceError  # what a waiter gets when its socket is closed under it
wall_clock = time.time  # for certificates and log lines only; every duration uses `now`

log = logging.getLogger(__name__)


async def sleep_until(deadline: float) -> None:
    """Return when the clock reads `deadline` (monotonic seconds, as `now` gives them)."""
    await trio.sleep_until(deadline)


def closing(sock: socket.socket) -> None:
    """Must be called before a socket is closed: whoever waits on it is woken with `trio.ClosedResourceError`."""
    trio.lowlevel.notify_closing(sock)


class Background:
    """The nursery of one worker's background work, reachable from the data path without being handed around."""

    __slots__ = ("crashes", "nursery")

    def __init__(self) -> None:
        self.nursery: trio.Nursery | None = None
        self.crashes = 0

    async def run(self, body: Callable[[], Awaitable[None]]) -> None:
        """Run `body` with a nursery for `spawn`; when it ends, what was spawned is cancelled."""
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            try:
                await body()
            finally:
                self.nursery = None
                nursery.cancel_scope.cancel()

    def spawn(self, fn: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        """Start `fn(*args)` as a task of its own. Nothing is started once the worker is ending."""
        if self.nursery is not None:
            self.nursery.start_soon(self._guarded, fn, args)

    async def _guarded(self, fn: Callable[[*Ts], Awaitable[None]], args: tuple[*Ts]) -> None:
        try:
            await fn(*args)
        except Exception:  # one bug must not end the worker: counted, and reported with its traceback
            self.crashes += 1
            log.exception("background task %s crashed", getattr(fn, "__qualname__", fn))


background = Background()
spawn = background.spawn
