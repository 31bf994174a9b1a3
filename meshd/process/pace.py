"""Long work of a process: signs of life while it starts, and what becomes of the garbage collector meanwhile.

Theory of operation: a full collection looks at every object there is, and stops everything for it. So while many
objects come to be the collector rests, and afterwards they are set apart (`gc.freeze`): documents and what is made of
them have no cycles and go by their reference counts. The price is that what was under way at that moment and does have
cycles stays in memory, once a large reload.
"""

import gc
from collections.abc import Callable
from typing import Final, TypeVar

from meshd.core.steps import Steps

T = TypeVar("T")

BEAT: Final = 0.25  # seconds between signs of life
MANY: Final = 20_000  # objects that came to be since the collector rested: more are set apart


def with_signs_of_life(steps: Steps[T], beat: Callable[[float], None], clock: Callable[[], float]) -> T:
    """Take the steps now, and show life meanwhile."""
    shown = clock()
    beat(shown)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        now = clock()
        if now - shown >= BEAT:
            shown = now
            beat(now)


class CollectorRests:
    """`with CollectorRests():` for work that makes many objects which stay."""

    __slots__ = ("_was_enabled",)

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if gc.get_count()[0] > MANY:
            gc.freeze()
        if self._was_enabled:
            gc.enable()
