"""The one place where the data path waits.

Theory of operation: `proxy/`, `http/` and `upstream/` are straight-line `async def` code that waits through this module
only. In a serving worker they are stepped by the reactor beside this file; anywhere else, in tests and at start, the
same code runs as ordinary trio tasks: each wait looks who is running it. Rule 1: no nursery and no cancel scope inside
an exchange; deadlines are numbers, swept by one task a worker (`net/sweep.py`), which ends what is overdue by aborting
the stream or setting the event that somebody waits on. Rule 2: `spawn` is for work that outlives the caller's next step
(a connection to serve, a body that still streams, a connection dialled to keep the pool warm); `start` is for the few
tasks that live as long as the worker and wait for the clock. A crash in either is counted and reported, no more.
"""

import logging
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import coroutine
from typing import TypeAlias, TypeVar, TypeVarTuple

import trio

from meshd.net.reactor import IN, OUT, Reactor, Task

Ts = TypeVarTuple("Ts")
T = TypeVar("T")
Wait: TypeAlias = Generator[None, None, None]

Closed = trio.ClosedResourceError  # what a waiter gets when its socket is closed under it
wall_clock = time.time  # for certificates and log lines only; every duration uses `now`

log = logging.getLogger(__name__)
_reactor: Reactor | None = None  # of this process, while it serves
now: Callable[[], float] = trio.current_time  # monotonic seconds; call it as `wait.now()`, for it changes


class Clock(trio.abc.Clock):
    """The clock of a serving worker: one C call away, where trio's own is five Python calls away."""

    __slots__ = ()

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        """Monotonic seconds."""
        return time.perf_counter()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds from now."""
        return deadline - time.perf_counter()


@coroutine
def readable(fd: int) -> Wait:
    """Wait until there is something to read, or the end, or an error. Raises `Closed`."""
    reactor = _reactor
    if reactor is None or reactor.running is None:
        yield from trio.lowlevel.wait_readable(fd).__await__()  # noqa: ASYNC105  # this is how a generator awaits
        return
    if not reactor.armed.get(fd, 0) & IN:
        _arm(reactor, fd, IN)
    reactor.readers[fd] = reactor.running
    yield


@coroutine
def writable(fd: int) -> Wait:
    """Wait until there is room to write, or the connection is there, or an error. Raises `Closed`."""
    reactor = _reactor
    if reactor is None or reactor.running is None:
        yield from trio.lowlevel.wait_writable(fd).__await__()  # noqa: ASYNC105
        return
    _arm(reactor, fd, OUT)
    reactor.writers[fd] = reactor.running
    yield


@coroutine
def turn() -> Wait:
    """Let everybody else go first: before something that takes much longer than a request."""
    reactor = _reactor
    if reactor is None or reactor.running is None:
        yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105
        return
    reactor.later(reactor.running)
    yield


def _arm(reactor: Reactor, fd: int, mask: int) -> None:
    if fd < 0:
        raise Closed("the socket is closed")
    reactor.arm(fd, mask)


def is_quiet(fd: int) -> bool:
    """Whether the descriptor is watched for reading and, up to the last look at the epoll, had nothing to say."""
    return _reactor is not None and bool(_reactor.armed.get(fd, 0) & IN)


class Event:
    """Something that happens once. Like `trio.Event`, for coroutines of the reactor as well."""

    __slots__ = ("_is_set", "_trio", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[Task] = []
        self._trio: trio.Event | None = None

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    def set(self) -> None:
        """Let it happen: whoever waits goes on."""
        self._is_set = True
        if self._waiting and _reactor is not None:
            for task in self._waiting:
                _reactor.wake(task)
            self._waiting.clear()
        if self._trio is not None:
            self._trio.set()

    @coroutine
    def wait(self) -> Wait:
        """Wait until it has happened; not at all when it has."""
        if self._is_set:
            return
        reactor = _reactor
        if reactor is None or reactor.running is None:
            if self._trio is None:
                self._trio = trio.Event()
            yield from self._trio.wait().__await__()
            return
        self._waiting.append(reactor.running)
        yield


class Signal:
    """Something that happens again and again, for one who waits at a time. What happened while nobody waited counts
    once."""

    __slots__ = ("_is_set", "_task", "_trio")

    def __init__(self) -> None:
        self._is_set = False
        self._task: Task | None = None
        self._trio: trio.Event | None = None

    def set(self) -> None:
        """Let it happen: who waits goes on."""
        if self._is_set:
            return
        self._is_set = True
        if self._task is not None:
            assert _reactor is not None
            _reactor.wake(self._task)
            self._task = None
        elif self._trio is not None:
            self._trio.set()

    @coroutine
    def wait(self) -> Wait:
        """Wait until it has happened since the last wait. May return without cause."""
        if not self._is_set:
            reactor = _reactor
            if reactor is None or reactor.running is None:
                self._trio = trio.Event()
                yield from self._trio.wait().__await__()
                self._trio = None
            else:
                self._task = reactor.running
                yield
        self._is_set = False


async def sleep_until(deadline: float) -> None:
    """Return when the clock reads `deadline` (monotonic seconds, as `now` gives them)."""
    await on_trio(trio.sleep_until, deadline)


async def on_trio(fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Await what only trio can wait for, such as the clock or a thread, from wherever we are running."""
    if _reactor is None or _reactor.running is None:
        return await fn(*args)
    assert background.nursery is not None, "a reactor runs in a nursery"
    done = Event()
    results: list[T] = []
    failures: list[Exception] = []

    async def work() -> None:
        try:
            results.append(await fn(*args))
        except Exception as error:  # noqa: BLE001  # raised again where it was asked for
            failures.append(error)
        finally:
            done.set()

    background.nursery.start_soon(work)
    await done.wait()
    if failures:
        raise failures[0]
    return results[0]


def opened(sock: socket.socket) -> None:
    """Must be called for a socket that is new, before anybody waits on it."""
    if _reactor is not None:
        _reactor.opened(sock.fileno())


def close(sock: socket.socket) -> None:
    """Close a socket; whoever waits on it is woken with `Closed`."""
    interrupt(sock)
    sock.close()


def interrupt(sock: socket.socket) -> None:
    """Wake whoever waits on a socket with `Closed`, but leave it open."""
    fd = sock.fileno()
    if fd < 0:
        return
    if _reactor is not None:
        _reactor.closing(fd)
        if _reactor.running is not None:
            return  # trio tasks wait on sockets only while the worker starts, and only the clock interrupts those
    trio.lowlevel.notify_closing(fd)


class Background:
    """The nursery of one worker's background work, reachable from the data path without being handed around."""

    __slots__ = ("_crashes", "nursery")

    def __init__(self) -> None:
        self.nursery: trio.Nursery | None = None
        self._crashes = 0

    @property
    def crashes(self) -> int:
        """Tasks that ended in an exception."""
        return self._crashes + (_reactor.crashes if _reactor is not None else 0)

    async def run(self, body: Callable[[], Awaitable[None]], reactor: Reactor | None = None) -> None:
        """Run `body` with a nursery for what it spawns; when it ends, what was spawned is cancelled.

        With a `reactor` what is spawned runs on that, otherwise as trio tasks.
        """
        global _reactor, now  # noqa: PLW0603  # one a process, as there is one data path a process
        try:
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                try:
                    if reactor is not None:
                        nursery.start_soon(reactor.run)
                        _reactor = reactor
                        if isinstance(trio.lowlevel.current_clock(), Clock):
                            now = time.perf_counter
                    await body()
                finally:
                    self.nursery = None
                    nursery.cancel_scope.cancel()
        finally:  # also when it was cancelled, or `body` failed
            _reactor = None
            now = trio.current_time

    def start(self, fn: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        """Start `fn(*args)` as a trio task. Nothing is started once the worker is ending."""
        if self.nursery is not None:
            self.nursery.start_soon(self._guarded, fn, args)

    def spawn(self, fn: Callable[[*Ts], Coroutine[object, None, None]], *args: *Ts) -> None:
        """Start `fn(*args)` where the data path runs. Nothing is started once the worker is ending."""
        if self.nursery is None:
            return
        if _reactor is not None:
            _reactor.spawn(fn(*args))
        else:
            self.nursery.start_soon(self._guarded, fn, args)

    async def _guarded(self, fn: Callable[[*Ts], Awaitable[None]], args: tuple[*Ts]) -> None:
        try:
            await fn(*args)
        except Exception:  # one bug must not end the worker: counted, and reported with its traceback
            self._crashes += 1
            log.exception("background task %s crashed", getattr(fn, "__qualname__", fn))


background = Background()
spawn = background.spawn
start = background.start
