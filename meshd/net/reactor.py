"""Coroutines stepped over one persistent epoll, inside one trio task: what the data path of a worker runs on.

Theory of operation: trio's scheduler costs more per wait than everything else that a small exchange needs (arming a
one-shot watch is a system call, waking a task a pass through its run loop). So connections are plain coroutines here:
a wait registers its descriptor once and for as long as it lives, stores itself and yields; an event steps the coroutine
that stored itself. One trio task waits for the epoll itself, so everything else of the worker (signals, the channel to
the controller, timers) goes on under trio as ever.

Rule 1: watches are level-triggered, so bytes that were left unread are told of again. A descriptor that has something
to say while nobody listens is taken out of the epoll until somebody waits for it, so nothing ever spins.
Rule 2: whoever closes a descriptor says so first (`closing`), which wakes who waits on it; whoever opens
one says `opened`, so that a number used before never brings its old watch with it.
Rule 3: a wake-up may be spurious; who was waiting tries again and waits again.
Rule 4: an exception that leaves a coroutine is a bug: logged with its traceback and counted, and nobody else notices.
Rule 5: after `SLICE` seconds without a pause, trio gets its turn, and then the kernel is asked again: a thousand that
are woken at once, because a sweep has closed them, do not hold up who has something to read. Rule 6: who asks for a
turn (`later`) gets it when everybody else had theirs, one between two looks at the kernel: a handshake takes as long
as twenty requests, and a crowd of them must not be felt by those who are there already.
"""

import logging
import os
import select
import time
from collections import deque
from collections.abc import Coroutine
from typing import Final, TypeAlias

import trio

SLICE: Final = 0.005  # seconds
FEW: Final = 16  # steps between two looks at the clock
MOST_EVENTS: Final = 128  # looked at in one system call
IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT
NOT_OUT: Final = ~select.EPOLLOUT
ENDED: Final = select.EPOLLHUP | select.EPOLLERR  # told of whether asked for or not

Task: TypeAlias = Coroutine[object, None, None]

log = logging.getLogger(__name__)


class Reactor:
    """The coroutines of one worker and what each of them waits for."""

    __slots__ = (
        "_epoll",
        "_in_pass",
        "_later",
        "_queue",
        "_wake_up",
        "armed",
        "crashes",
        "readers",
        "running",
        "tasks",
        "writers",
    )

    def __init__(self) -> None:
        self.running: Task | None = None  # the one being stepped
        self.armed: dict[int, int] = {}  # by descriptor: what the kernel watches
        self.readers: dict[int, Task] = {}  # by descriptor: who waits for it to be readable
        self.writers: dict[int, Task] = {}
        self.tasks: set[Task] = set()
        self.crashes = 0
        self._queue: deque[tuple[Task, BaseException | None]] = deque()  # to be stepped, with what to raise in them
        self._later: deque[Task] = deque()
        self._epoll = select.epoll()
        self._wake_up = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_up, IN)
        self._in_pass = False

    # -- for waits -----------------------------------------------------------------------------------------------

    def arm(self, fd: int, mask: int) -> None:
        """Watch a descriptor for `mask` too. Raises OSError for one that is closed."""
        armed = self.armed.get(fd, 0)
        if armed & mask == mask:
            return
        wanted = armed | mask
        if armed:
            self._epoll.modify(fd, wanted)
        else:
            self._epoll.register(fd, wanted)
        self.armed[fd] = wanted

    def opened(self, fd: int) -> None:
        """The number is a new socket's now; forget whatever was known of it."""
        if fd in self.armed or fd in self.readers or fd in self.writers:
            self.closing(fd)

    def closing(self, fd: int) -> None:
        """Stop watching, and wake whoever waits with `trio.ClosedResourceError`."""
        if self.armed.pop(fd, 0):
            try:
                self._epoll.unregister(fd)
            except OSError:
                pass  # it was closed behind our back, which took it out
        for waiting in (self.readers, self.writers):
            task = waiting.pop(fd, None)
            if task is not None:
                self.wake(task, trio.ClosedResourceError("closed while somebody waited for it"))

    def wake(self, task: Task, failure: BaseException | None = None) -> None:
        """Step a waiting coroutine soon, raising `failure` in it if there is one."""
        if task not in self.tasks:
            return  # the worker is ending, and closed it
        self._queue.append((task, failure))
        if not self._in_pass:
            os.eventfd_write(self._wake_up, 1)

    def later(self, task: Task) -> None:
        """Step a coroutine when it is its turn among those that may take long."""
        self._later.append(task)
        if not self._in_pass:
            os.eventfd_write(self._wake_up, 1)

    def spawn(self, task: Task) -> None:
        """Begin a coroutine soon."""
        self.tasks.add(task)
        self.wake(task)

    # -- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Step what is due, for ever; when cancelled, every coroutine is closed."""
        try:
            while True:
                if self._queue or self._later:
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                self._pass()
        finally:
            self._close()

    def _pass(self) -> None:
        """Step everything that is due until nothing is, or the slice is over."""
        poll, queue, later = self._epoll.poll, self._queue, self._later
        self._in_pass = True
        until = time.perf_counter() + SLICE
        while True:
            events = poll(0, MOST_EVENTS)
            for fd, mask in events:
                self._happened(fd, mask)
            if later:
                self._step(later.popleft(), None)
            elif not events and not queue:
                break
            for count in range(len(queue)):
                task, failure = queue.popleft()
                self._step(task, failure)
                if not (count + 1) % FEW and time.perf_counter() > until:
                    break
            if time.perf_counter() > until:
                break
        self._in_pass = False

    def _happened(self, fd: int, mask: int) -> None:
        readers, writers = self.readers, self.writers
        if mask & NOT_OUT:
            task = readers.pop(fd, None)
            if task is not None:
                self._step(task, None)
                if mask == IN:
                    return  # it stays armed: most come back to wait for more
            elif fd == self._wake_up:
                os.eventfd_read(fd)
                return
        if mask & (OUT | ENDED):
            task = writers.pop(fd, None)
            if task is not None:
                self._step(task, None)
        self._watch(fd, (IN if fd in readers else 0) | (OUT if fd in writers else 0))

    def _watch(self, fd: int, wanted: int) -> None:
        """Have the kernel tell of no more than somebody waits for."""
        armed = self.armed.get(fd)
        if armed is None or armed == wanted:
            return
        if wanted:
            self._epoll.modify(fd, wanted)
            self.armed[fd] = wanted
        else:
            self._epoll.unregister(fd)
            del self.armed[fd]

    def _step(self, task: Task, failure: BaseException | None) -> None:
        self.running = task
        try:
            if failure is None:
                task.send(None)
            else:
                task.throw(failure)
        except StopIteration:
            self.tasks.discard(task)
        except Exception:
            self.tasks.discard(task)
            self.crashes += 1
            log.exception("%s crashed", getattr(task, "__qualname__", task))
        finally:
            self.running = None

    def _close(self) -> None:
        for task in tuple(self.tasks):
            try:
                task.close()
            except Exception:  # one that waits while it is being closed; the process is ending anyway
                self.crashes += 1
                log.exception("%s did not end", getattr(task, "__qualname__", task))
        self.tasks.clear()
        self._queue.clear()
        self._later.clear()
        self._epoll.close()
        os.close(self._wake_up)

    def __repr__(self) -> str:
        return f"<Reactor {len(self.tasks)} coroutines, {len(self.armed)} descriptors>"
