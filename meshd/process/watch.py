"""When files are to be read again: their stamp differs from the one last read, and has stood still for a moment.

A file that is written in place is at times half written, and half a document may be a valid one. Therefore a change is
read only once two looks have seen the same stamp, and what was read counts only if the stamp is the same afterwards.
"""

from collections.abc import Callable
from typing import Final

import trio

POLL: Final = 0.25  # seconds between looks
SETTLE: Final = 0.1  # seconds that a changed stamp must stand still
PATIENCE: Final = 2.0  # seconds after which files that never stand still are read all the same


class Watch:
    """Watches one set of files by its stamp. `seen` is the stamp of what was read last."""

    __slots__ = ("_asked", "_poll", "_seen", "_stamp")

    def __init__(self, stamp: Callable[[], object], seen: object, poll: float = POLL) -> None:
        self._stamp = stamp
        self._seen = seen
        self._poll = poll
        self._asked = trio.Event()

    def ask(self) -> None:
        """Have it read now, changed or not."""
        self._asked.set()

    async def changed(self) -> bool:
        """Wait until the files are to be read; True when that was asked for, False when they changed."""
        while True:
            asked = False
            with trio.move_on_after(self._poll):
                await self._asked.wait()
                asked = True
            if not asked and self._stamp() == self._seen:
                continue
            self._asked = trio.Event()
            self._seen = await self._settled()
            return asked

    def is_stale(self) -> bool:
        """Whether the files changed since they were said to be; what was read meanwhile may be half of each."""
        return self._stamp() != self._seen

    async def _settled(self) -> object:
        before = self._stamp()
        with trio.move_on_after(PATIENCE):
            while True:
                await trio.sleep(SETTLE)
                now = self._stamp()
                if now == before:
                    break
                before = now
        return before

    def __repr__(self) -> str:
        return f"<Watch every {self._poll} s>"
