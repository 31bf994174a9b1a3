"""Clusters of names: an endpoint for each address, and told when those change."""

from random import Random
from types import SimpleNamespace

from support.connections import FakeDialler

from meshd.discovery.known_port import Place
from meshd.net.resolver import Resolver
from meshd.proxy.names import Names
from meshd.upstream.cluster import Cluster, ClusterSettings

NAMED = Place("a.test", 80, weight=3, server_name="a.test", by_address=True)
FIXED = Place("10.9.9.9", 80)


class World:
    """A cluster of these places, in the one snapshot that there is."""

    def __init__(self, *places):
        self.found = ["10.0.0.2", "10.0.0.1"]
        self.names = Names(Resolver(self.look_up))
        self.cluster = Cluster("c", [], FakeDialler(), ClusterSettings(), Random(1))
        self.snapshot = SimpleNamespace(clusters={"c": self.cluster}, places={"c": places})
        self.names.watch(self.snapshot)

    async def look_up(self, _host):
        return self.found

    @property
    def addresses(self):
        return [(each.address, each.host, each.weight) for each in self.cluster.endpoints]


async def test_each_address_is_an_endpoint():
    world = World(NAMED, FIXED)
    assert world.names.watches("c")
    await world.names.look_up()
    world.names.update(world.snapshot)
    assert world.addresses == [("10.0.0.1", "a.test", 3), ("10.0.0.2", "a.test", 3), ("10.9.9.9", "", 1)]
    assert world.cluster.endpoints[0].server_name == "a.test"


async def test_a_name_of_one_address_or_none_is_an_endpoint_itself():
    world = World(NAMED)
    world.found = ["10.0.0.1"]
    await world.names.look_up()
    world.names.update(world.snapshot)
    assert world.addresses == [("a.test", "", 3)]
    assert [each.address for each in world.names.endpoints("c", world.cluster, (NAMED,))] == ["a.test"]


async def test_those_that_stay_are_the_same_endpoints():
    world = World(NAMED)
    await world.names.look_up()
    world.names.update(world.snapshot)
    first, second = world.cluster.endpoints
    world.names.update(world.snapshot)
    assert world.cluster.endpoints == (first, second)


async def test_what_has_no_names_is_not_watched():
    world = World(FIXED, Place("fixed.test", 80))
    assert not world.names.watches("c")
    assert repr(world.names) == "<Names of 0 clusters>"
    other = World(NAMED)
    other.snapshot.clusters = {}
    other.names.update(other.snapshot)
    assert not other.names.watches("c")
