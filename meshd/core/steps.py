"""Work in steps: a generator that rests after each piece, so that whoever runs it decides how much is done at a time.

A worker takes its steps between requests (`process/pace.py`); everybody else takes them all at once. Rule: no step may
grow with the size of all documents, only with that of the one thing it is about.
"""

from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]

TOGETHER = 16  # small things that make one step


def run(steps: Steps[T]) -> T:
    """Take every step now."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def let_go(held: list[object]) -> Steps[None]:
    """Give up the last hold of things one by one: of a whole mesh at once it takes as long as many requests."""
    while held:
        held.pop()
        yield


def each(items: Iterable[T], act: Callable[[T], object]) -> Steps[None]:
    """Do one small thing with each, several a step."""
    for place, item in enumerate(items):
        act(item)
        if place % TOGETHER == TOGETHER - 1:
            yield
