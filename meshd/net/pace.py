"""Long work between requests: taken in slices, each as long as a few requests take; then whoever waits has a turn."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

import trio

from meshd.core.steps import Steps

T = TypeVar("T")

SLICE: Final = 0.002  # seconds


class Overtaken(Exception):
    """Something newer is to be done instead."""


async def between_requests(steps: Steps[T], is_overtaken: Callable[[], bool] = lambda: False) -> T:
    """Take the steps in slices. Raises what they raise, and `Overtaken` between two of them."""
    clock = time.perf_counter
    while True:
        until = clock() + SLICE
        try:
            while clock() < until:
                next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if is_overtaken():
            steps.close()
            raise Overtaken
        await trio.lowlevel.checkpoint()
