"""Which log lines are written and which are only counted, so that a stranger who causes a line per connection fills
neither disk nor memory. Pure: the clock is an argument.

Theory of operation: lines that a peer causes are alike when they come from the same template and the same kind of
peers; all others when they say the same. Of those that are alike a few are written in `WINDOW` seconds; the others are
counted, and one line at the end of the window says how many there were. Of a kind whose lines say `who` caused them
the first of each is written besides, for `CALLERS` of them: many that are refused together are known by name.
Rule 1: at most `KEYS` kinds are told apart,
`PEER_KEYS` of them by peer; beyond that peers share the line of their template, and the rest shares one. So memory and
the rate of lines are bounded whoever calls.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

BURST: Final = 5  # lines of one kind that are written in one window, where a peer causes them
CALLERS: Final = 16  # of one kind, whose first line in a window is written whatever the others did
SAME: Final = 20  # of those that say the same, where nobody outside does
WINDOW: Final = 10.0  # seconds
KEYS: Final = 512
PEER_KEYS: Final = 384
TEXT: Final = 500  # characters that are kept of the last line

Key: TypeAlias = tuple[str, str]  # template; class of peers, empty for none
OVERFLOW: Final[Key] = ("", "")


@dataclass(frozen=True, slots=True)
class Summary:
    """What was counted instead of written."""

    level: int
    count: int
    last: str

    def __str__(self) -> str:
        return f"{self.last} … {self.count} more like this in {WINDOW:.0f} s"


class Kind:
    """One window of lines that are alike."""

    __slots__ = ("callers", "count", "ends", "held", "last", "level")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.callers: set[str] = set()
        self.count = 0
        self.held = 0
        self.last = ""
        self.level = 0


class Coalescer:
    """What was written lately, by kind."""

    __slots__ = ("_kinds", "_next_end", "_peers", "coalesced")

    def __init__(self) -> None:
        self._kinds: dict[Key, Kind] = {}
        self._peers = 0  # kinds that name a class of peers
        self._next_end = float("inf")  # no window with a held line ends before
        self.coalesced = 0

    @property
    def deadline(self) -> float:
        """When `due` has something to say at the earliest; infinite for never."""
        return self._next_end

    def admit(self, key: Key, now: float, burst: int = BURST, who: str = "") -> bool:
        """Whether a line of this kind is to be written. If not, the caller says what it was: `hold`."""
        kind = self._kinds.get(key)
        if kind is None or (kind.ends <= now and not kind.held):
            kind = self._begin(key, now)
        kind.count += 1
        who = who[:TEXT]
        is_new = bool(who) and len(kind.callers) < CALLERS and who not in kind.callers
        if is_new:
            kind.callers.add(who)
        return is_new or kind.count <= burst

    def hold(self, key: Key, level: int, text: str) -> None:
        """Count a line that was not admitted."""
        kind = self._kinds.get(key) or self._kinds.get((key[0], "")) or self._kinds[OVERFLOW]
        kind.held += 1
        kind.last = text[:TEXT]
        kind.level = max(kind.level, level)
        self.coalesced += 1
        self._next_end = min(self._next_end, kind.ends)

    def due(self, now: float, *, force: bool = False) -> list[Summary]:
        """What is to be said of windows that are over; of all of them with `force`."""
        if now < self._next_end and not force:
            return []
        over = [(key, kind) for key, kind in self._kinds.items() if kind.ends <= now or force]
        for key, _kind in over:
            self._forget(key)
        self._next_end = min((kind.ends for kind in self._kinds.values() if kind.held), default=float("inf"))
        return [Summary(kind.level, kind.held, kind.last) for _key, kind in over if kind.held]

    def statistics(self) -> dict[str, int]:
        """How many kinds are told apart, and how many lines were counted instead of written."""
        return {"kinds": len(self._kinds), "coalesced": self.coalesced}

    def _begin(self, key: Key, now: float) -> Kind:
        if key in self._kinds:
            self._forget(key)
        if self._is_full(key):
            self._make_room(now)
            if self._is_full(key):
                key = (key[0], "") if key[1] and len(self._kinds) < KEYS else OVERFLOW
                found = self._kinds.get(key)
                if found is not None and (found.ends > now or found.held):
                    return found
        kind = self._kinds[key] = Kind(now + WINDOW)
        self._peers += bool(key[1])
        return kind

    def _is_full(self, key: Key) -> bool:
        return len(self._kinds) >= KEYS or (bool(key[1]) and self._peers >= PEER_KEYS)

    def _make_room(self, now: float) -> None:
        for key in [key for key, kind in self._kinds.items() if kind.ends <= now and not kind.held]:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        del self._kinds[key]
        self._peers -= bool(key[1])

    def __repr__(self) -> str:
        return f"<Coalescer {len(self._kinds)} kinds, {self.coalesced} coalesced>"
