"""The routes of one service, compiled so that the number of routes hardly matters: exact paths in a dictionary,
prefixes in a dictionary by their whole segments, regular expressions in a list."""

from collections.abc import Iterable
from dataclasses import dataclass

from meshd.core.head import RequestHead
from meshd.core.route import Route
from meshd.routing.matcher import Match, Predicate

# Most specific first: what else must hold, how specific, the route.
Entry = tuple[tuple[Predicate, ...], tuple[int, ...], Route]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One match with its route, in the order of precedence among equals: the lower, the earlier."""

    match: Match
    order: int
    route: Route


class RouteTable:
    """Frozen once built."""

    __slots__ = ("_exact", "_longest", "_prefixes", "_regexes", "_single", "candidates", "routes")

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        ordered = sorted(candidates, key=lambda each: ([-rank for rank in each.match.specificity], each.order))
        self.candidates = tuple(ordered)  # in the order of precedence, for those who ask why
        self.routes = tuple(dict.fromkeys(each.route for each in ordered))
        self._exact: dict[bytes, list[Entry]] = {}
        self._prefixes: dict[bytes, list[Entry]] = {}
        self._regexes: list[Entry] = []
        for each in ordered:
            match = each.match
            entry = (match.predicates, match.specificity, each.route)
            if match.kind == "Exact":
                self._exact.setdefault(match.path, []).append(entry)
            elif match.kind == "PathPrefix":
                self._prefixes.setdefault(match.path, []).append(entry)
            else:
                self._regexes.append(entry)
        self._longest = max(map(len, self._prefixes), default=0)
        everything = [each for each in ordered if each.match.kind == "PathPrefix" and not each.match.path]
        only = len(ordered) == 1 and everything and not everything[0].match.predicates
        self._single = ordered[0].route if only else None

    def find(self, head: RequestHead) -> Route | None:
        """The most specific route whose match holds; None when none does."""
        if self._single is not None:
            return self._single
        path = head.path
        if self._exact and (entries := self._exact.get(path)) is not None and (route := _first(entries, head)):
            return route
        if self._regexes and (route := _first(self._regexes, head)):
            return route
        prefixes = self._prefixes
        prefix = path.rstrip(b"/") if path.endswith(b"/") else path
        if len(prefix) > self._longest:  # a stranger's thousands of segments are not tried one by one
            prefix = prefix[: max(prefix.rfind(b"/", 0, self._longest + 1), 0)]
        while True:  # the longest prefix first: drop one segment at a time
            if (entries := prefixes.get(prefix)) is not None and (route := _first(entries, head)):
                return route
            if not prefix:
                return None
            prefix = prefix[: prefix.rfind(b"/")] if b"/" in prefix else b""

    def __repr__(self) -> str:
        return f"<RouteTable {len(self.routes)} routes>"


def _first(entries: list[Entry], head: RequestHead) -> Route | None:
    """The route of the first entry of which everything holds. Loops, for generators cost more."""
    for predicates, _, route in entries:
        for predicate in predicates:
            if not predicate(head):
                break
        else:
            return route
    return None
