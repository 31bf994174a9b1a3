"""Stepping over endpoints that are not candidates: which of those a table was built for may be picked just now."""

from collections.abc import Sequence

from meshd.core.endpoint import Endpoint


class Members:
    """Remembers the last candidates by identity, so that the same tuple again costs one comparison."""

    __slots__ = ("_all", "_allowed", "_seen")

    def __init__(self) -> None:
        self._all: Sequence[Endpoint] = ()
        self._seen: Sequence[Endpoint] = ()
        self._allowed: frozenset[Endpoint] | None = None

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """The table holds these now."""
        self._all = self._seen = endpoints
        self._allowed = None

    def allowed(self, candidates: Sequence[Endpoint]) -> frozenset[Endpoint] | None:
        """The candidates as a set, None when the table holds nobody else."""
        if candidates is not self._seen:
            self._seen = candidates
            self._allowed = None if candidates is self._all else frozenset(candidates)
        return self._allowed
