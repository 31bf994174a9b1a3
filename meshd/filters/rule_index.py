"""Finding the first rule that matches among many: only those are asked that can match by the path or by the peer.

Theory of operation: every rule stands under keys of one kind, of which a request must have one for the rule to match:
exact paths, the whole segments that its paths begin with, or exact principals. A rule that has no such keys is always
asked. The order of the rules decides as if each were asked in its turn.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from meshd.config.authorization import Rule
from meshd.core.exchange import Exchange
from meshd.core.path_forms import canonical_pattern
from meshd.core.steps import TOGETHER, Steps, run
from meshd.filters.authz_rules import CompiledRule, with_aliases
from meshd.filters.base import Scope

FEW = 8  # rules that are asked one after the other: looking them up costs as much


class Ruled(Protocol):
    """What stands in an index."""

    @property
    def rule(self) -> CompiledRule:
        """What must match."""


E = TypeVar("E", bound=Ruled)
Group = list[tuple[int, E]]  # in the order of their places


class RuleIndex(Generic[E]):
    """Entries in their order. Frozen once built."""

    __slots__ = ("_always", "_depth", "_exact", "_folders", "_principals", "entries")

    def __init__(self, entries: Sequence[tuple[E, Rule]], scope: Scope) -> None:
        run(self.filling(entries, scope))

    @classmethod
    def building(cls, entries: Sequence[tuple[E, Rule]], scope: Scope) -> "Steps[RuleIndex[E]]":
        """The same in steps of a few rules."""
        index = cls.__new__(cls)
        yield from index.filling(entries, scope)
        return index

    def filling(self, entries: Sequence[tuple[E, Rule]], scope: Scope) -> Steps[None]:
        """Look at everything it is made of; once."""
        self.entries = tuple(entry for entry, _ in entries)
        self._always: Group[E] = []
        self._exact: dict[bytes, Group[E]] = {}
        self._folders: dict[bytes, Group[E]] = {}
        self._principals: dict[bytes, Group[E]] = {}
        for place, (entry, rule) in enumerate(entries):
            for group in self._groups_for(rule, scope, few=len(entries) <= FEW):
                group.append((place, entry))
            if place % TOGETHER == 0:
                yield
        self._depth = max((key.count(b"/") for key in self._folders), default=0)

    def _groups_for(self, rule: Rule, scope: Scope, *, few: bool) -> list[Group[E]]:
        if few:
            return [self._always]
        paths = path_keys(rule)
        if paths is not None:
            exact, folders = paths
            found = [self._exact.setdefault(key, []) for key in exact]
            return found + [self._folders.setdefault(key, []) for key in folders]
        principals = principal_keys(rule, scope)
        if principals is not None:
            return [self._principals.setdefault(key, []) for key in principals]
        return [self._always]

    def find(self, exchange: Exchange) -> E | None:
        """The first entry whose rule matches; None when none does."""
        if not self.entries:
            return None
        found, limit = None, len(self.entries)
        for group in self._candidates(exchange):
            for place, entry in group:
                if place >= limit:
                    break
                if entry.rule.holds(exchange):
                    found, limit = entry, place
                    break
        return found

    def find_as_read(self, exchange: Exchange) -> E | None:
        """The first entry whose rule matches on some reading of the path: for what restricts."""
        if exchange.head.forms is None or not self.entries:
            return self.find(exchange)
        found: E | None = self.entries[0]  # of what nobody can read in full

        def matches() -> bool:
            nonlocal found
            found = self.find(exchange)
            return found is not None

        exchange.head.any_reading(matches)
        return found

    def find_all_as_read(self, exchange: Exchange) -> list[E]:
        """Every entry whose rule matches on some reading of the path, in order."""
        if exchange.head.forms is None or not self.entries:
            return self.find_all(exchange)
        found: set[int] = set()

        def collects() -> bool:
            found.update(id(entry) for entry in self.find_all(exchange))
            return False

        exchange.head.any_reading(collects)
        return [entry for entry in self.entries if id(entry) in found]

    def find_all(self, exchange: Exchange) -> list[E]:
        """Every entry whose rule matches, in order."""
        asked = {place: entry for group in self._candidates(exchange) for place, entry in group}
        return [asked[place] for place in sorted(asked) if asked[place].rule.holds(exchange)]

    def nearest(self, exchange: Exchange, most: int) -> list[E]:
        """Entries that come near to matching, in order, at most so many: those that were asked, then the first ones."""
        places = dict.fromkeys(place for group in self._candidates(exchange) for place, _ in group)
        places.update(dict.fromkeys(range(min(most, len(self.entries)))))
        return [self.entries[place] for place in sorted(list(places)[:most])]

    def _candidates(self, exchange: Exchange) -> Iterable[Group[E]]:
        if not (self._exact or self._folders or self._principals):
            return (self._always,)
        groups = [self._always] if self._always else []
        if self._principals and (group := self._principals.get(exchange.peer.principal)) is not None:
            groups.append(group)
        path = exchange.head.path
        if self._exact and (group := self._exact.get(path)) is not None:
            groups.append(group)
        end = 0
        for _ in range(self._depth):  # a folder more each time, from the root on
            end = path.find(b"/", end + 1)
            if end < 0:
                break
            if (group := self._folders.get(path[:end])) is not None:
                groups.append(group)
        return groups

    def __repr__(self) -> str:
        return f"<RuleIndex of {len(self.entries)} rules, {len(self._always)} always asked>"


def path_keys(rule: Rule) -> tuple[set[bytes], set[bytes]] | None:
    """The paths, and the folders of paths, that a rule can match; None when it says too little of them."""
    exact: set[bytes] = set()
    folders: set[bytes] = set()
    for each in rule.to:
        if not each.operation.paths:
            return None
        for pattern in map(canonical_pattern, each.operation.paths):
            literal = pattern.partition("{")[0].partition("*")[0]
            if literal == pattern:
                exact.add(pattern.encode())
                continue
            folder = literal.rpartition("/")[0]
            if not folder.startswith("/"):
                return None
            folders.add(folder.encode())
    return (exact, folders) if rule.to else None


def principal_keys(rule: Rule, scope: Scope) -> set[bytes] | None:
    """The principals that a rule can match; None when it says too little of them."""
    found: set[bytes] = set()
    for each in rule.from_:
        names = each.source.principals
        if not names or any("*" in name for name in names):
            return None
        found.update(alias.encode() for name in names for alias in with_aliases(name, scope))
    return found if rule.from_ else None
