"""Clusters whose endpoints are the addresses of a name: told when those change, as Envoy's STRICT_DNS does.

Rule 1: looking is cheap (`Resolver.known` answers at once and renews what is old behind that), so it is done at every
tick. Rule 2: a name that has not been looked up yet, or has one address, is an endpoint itself; it is looked up when it
is dialled.
"""

from collections.abc import Sequence

import trio

from meshd.core.endpoint import Endpoint
from meshd.discovery.known_port import Place
from meshd.net.resolver import Resolver, family_of
from meshd.snapshot import Snapshot
from meshd.upstream.cluster import Cluster

Found = tuple[tuple[str, ...], ...]  # the addresses of each place


class Names:
    """Of one worker; what it watches is replaced with the snapshot, cluster by cluster."""

    __slots__ = ("_resolver", "_watched")

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._watched: dict[str, tuple[Cluster, Sequence[Place], Found]] = {}

    def endpoints(self, name: str, cluster: Cluster, places: Sequence[Place]) -> list[Endpoint]:
        """What a cluster is to have now; from here on it is told of changes."""
        if any(place.by_address and family_of(place.address) is None for place in places):
            self._watched[name] = cluster, places, self._find(places)
        else:
            self._watched.pop(name, None)
        return [endpoint for place in places for endpoint in place.endpoints(self._resolver.known)]

    def watches(self, name: str) -> bool:
        """Whether endpoints of this cluster are names."""
        return name in self._watched

    def watch(self, snapshot: Snapshot) -> None:
        """Begin with these: their clusters know the names only."""
        for name, cluster in snapshot.clusters.items():
            self.endpoints(name, cluster, snapshot.places.get(name, ()))

    async def look_up(self) -> None:
        """Find everything that is watched; what is not found now is later."""

        async def one(host: str) -> None:
            try:
                await self._resolver.addresses(host)
            except OSError:
                return  # told of to whoever dials it

        hosts = {place.address for _, places, _ in self._watched.values() for place in places if place.by_address}
        async with trio.open_nursery() as nursery:
            for host in hosts:
                nursery.start_soon(one, host)

    def update(self, snapshot: Snapshot) -> None:
        """Tell clusters whose names have other addresses than before."""
        for name, (cluster, places, before) in tuple(self._watched.items()):
            if snapshot.clusters.get(name) is not cluster:
                del self._watched[name]
            elif self._find(places) != before:
                cluster.update(self.endpoints(name, cluster, places))

    def _find(self, places: Sequence[Place]) -> Found:
        known = self._resolver.known
        return tuple([tuple(sorted(known(place.address))) if place.by_address else () for place in places])

    def __repr__(self) -> str:
        return f"<Names of {len(self._watched)} clusters>"
