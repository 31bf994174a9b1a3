"""What a compilation made, for the next one: used again as long as everything it was made from is the same object.

Documents that did not change are the same objects from one generation to the next (`config/reread.py`,
`process/ledger.py`), so identity is all that is compared: that costs nothing, and cannot be wrong where two documents
look alike. Rule: whatever goes into a result is among its `inputs`, or does not change while the process lives.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Kept(Generic[T]):
    inputs: tuple[object, ...]
    result: T
    used: int  # the newest generation that asked for it


class Reuse(Generic[T]):
    """Results of one kind, by name."""

    __slots__ = ("_dropped", "_kept", "_turn", "made")

    def __init__(self) -> None:
        self._kept: dict[str, _Kept[T]] = {}
        self._dropped: list[object] = []
        self._turn = 0
        self.made = 0  # results that had to be made, for those who count work

    def begin(self) -> None:
        """A compilation begins. One that never ends leaves what it made to the next."""
        self._dropped.clear()
        self._turn += 1

    def end(self) -> None:
        """It came to its end: what it did not ask for is found no more."""
        dropped = [name for name, kept in self._kept.items() if kept.used != self._turn]
        self._dropped += [self._kept.pop(name) for name in dropped]

    def take_dropped(self) -> list[object]:
        """What is found no more; this gives up the last hold of it."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def find(self, name: str, inputs: tuple[object, ...]) -> T | None:
        """What was made under this name from these very inputs; None when it must be made."""
        kept = self._kept.get(name)
        if kept is None or len(kept.inputs) != len(inputs):
            return None
        for before, now in zip(kept.inputs, inputs, strict=True):
            if before is not now:
                return None
        kept.used = self._turn
        return kept.result

    def keep(self, name: str, inputs: tuple[object, ...], result: T) -> T:
        """Remember what was made."""
        before, self._kept[name] = self._kept.get(name), _Kept(inputs, result, self._turn)
        if before is not None:
            self._dropped.append(before)
        self.made += 1
        return result

    def copy(self) -> "Reuse[T]":
        """The same results, for another process or another compilation to go on with."""
        other = Reuse[T]()
        other._kept = {name: _Kept(kept.inputs, kept.result, 0) for name, kept in self._kept.items()}
        return other

    def __repr__(self) -> str:
        return f"<Reuse {len(self._kept)} kept, {self.made} made>"
