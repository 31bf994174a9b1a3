"""What one process keeps from compilation to compilation: everything that is made of documents, and its chance."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from meshd.backend import Backend
from meshd.core.steps import Steps, let_go
from meshd.discovery.known_port import KnownPort, Place
from meshd.filters.authz import PolicyRules
from meshd.reuse import Reuse
from meshd.routing.table import RouteTable
from meshd.upstream.cluster import ClusterSettings


@dataclass(frozen=True, slots=True)
class Destination:
    """A cluster to be: that of a service port as a whole, or of one of its subsets."""

    name: str
    subset: str
    places: tuple[Place, ...]
    settings: ClusterSettings


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """The routes of a service port, every authority that means it, and what was found for the backends it names."""

    table: RouteTable
    authorities: tuple[bytes, ...]
    found: tuple[tuple[tuple[str, str, int], str], ...]


class Memory:
    """One process's. Nothing of it is shared with another process but by `copy`, after a fork."""

    __slots__ = ("backends", "destinations", "ports", "random", "rules", "tables")

    def __init__(self, random: Random | None = None) -> None:
        self.random = random or Random()  # noqa: S311  # spreads load
        self.ports: Reuse[tuple[KnownPort, ...]] = Reuse()
        self.backends: Reuse[Backend] = Reuse()
        self.destinations: Reuse[tuple[Destination, ...]] = Reuse()
        self.tables: Reuse[ServiceTable] = Reuse()
        self.rules: Reuse[PolicyRules] = Reuse()

    @property
    def made(self) -> int:
        """How many results had to be made so far."""
        return self.ports.made + self.backends.made + self.destinations.made + self.tables.made + self.rules.made

    def begin(self) -> None:
        """A compilation begins."""
        for each in (self.ports, self.backends, self.destinations, self.tables, self.rules):
            each.begin()

    def ending(self) -> Steps[None]:
        """It came to its end: what it did not use is found no more."""
        for each in (self.ports, self.backends, self.destinations, self.tables, self.rules):
            each.end()
            yield

    def forgetting(self, others: Iterable[object] = ()) -> Steps[None]:
        """Let go, one by one, of what the compilation before made and the last did not use, and of `others`."""
        gone: list[object] = [*others]
        for each in (self.ports, self.backends, self.destinations, self.tables, self.rules):
            gone += each.take_dropped()
        yield from let_go(gone)

    def copy(self) -> "Memory":
        """For a process that was just forked: the same results, but a chance of its own."""
        other = Memory()
        other.ports, other.backends, other.destinations = (
            self.ports.copy(),
            self.backends.copy(),
            self.destinations.copy(),
        )
        other.tables, other.rules = self.tables.copy(), self.rules.copy()
        return other

    def __repr__(self) -> str:
        return f"<Memory of {self.made} results>"
