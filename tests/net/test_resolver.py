"""Names: looked up once, renewed behind those who ask, and tried in an order that shares and forgets nobody."""

import errno

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.background import in_background, settled

from meshd.net.resolver import AVOID, LOOKUP_TIME, REFRESH, Resolver, in_order, system_lookup

V4, V6 = ["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]


class Zone:
    """What a name server would say; `asked` of what. It waits while it is shut."""

    def __init__(self, *found):
        self.found = list(found)
        self.asked = []
        self.open = trio.Event()
        self.open.set()

    async def __call__(self, host):
        self.asked.append(host)
        await self.open.wait()
        if not self.found:
            raise OSError(-2, "Name or service not known")
        return self.found


async def test_an_address_is_not_looked_up():
    zone = Zone()
    assert await Resolver(zone).addresses("10.0.0.1") == ("10.0.0.1",)
    assert await Resolver(zone).addresses("::1") == ("::1",)
    assert zone.asked == []


async def test_those_who_ask_together_wait_for_one_answer(autojump_clock):
    zone, found = Zone(*V4, *V4), []
    zone.open = trio.Event()
    resolver = Resolver(zone)

    async def ask():
        found.append(await resolver.addresses("a.test"))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await settled()
        zone.open.set()
    assert found == [tuple(V4)] * 5
    assert zone.asked == ["a.test"]


async def test_those_who_ask_together_fail_together(autojump_clock):
    """One after the other, each with a look-up of its own, the last would wait for all of theirs."""
    zone, failures = Zone(), []
    zone.open = trio.Event()
    resolver = Resolver(zone)

    async def ask():
        with pytest.raises(OSError, match="not known") as caught:
            await resolver.addresses("a.test")
        failures.append(caught.value.strerror)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await settled()
        zone.open.set()
    assert failures == ["Name or service not known"] * 50
    assert zone.asked == ["a.test"]


async def test_name_servers_that_say_nothing_hold_nobody_for_long(autojump_clock):
    zone, began = Zone(*V4), trio.current_time()
    zone.open = trio.Event()
    resolver = Resolver(zone)

    async def ask():
        with pytest.raises(OSError, match="no answer from the name servers within 5 s") as caught:
            await resolver.addresses("a.test")
        assert caught.value.errno == errno.ETIMEDOUT

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert trio.current_time() - began == LOOKUP_TIME
    zone.open.set()
    assert await resolver.addresses("a.test") == tuple(V4)


async def test_what_is_old_is_renewed_behind_those_who_ask_and_kept_when_it_cannot_be(autojump_clock):
    async def run():
        zone = Zone(V4[0])
        resolver = Resolver(zone)
        assert resolver.known("a.test") == ()
        await resolver.addresses("a.test")
        zone.found = [V4[1]]
        assert await resolver.addresses("a.test") == (V4[0],)
        await trio.sleep(REFRESH)
        assert resolver.known("a.test") == (V4[0],)  # at once
        await settled()
        assert resolver.known("a.test") == (V4[1],)
        zone.found = []
        await trio.sleep(REFRESH)
        resolver.known("a.test")
        await settled()
        assert await resolver.addresses("a.test") == (V4[1],)
        assert len(zone.asked) == 3

    await in_background(run)


async def test_a_name_that_nobody_has_is_an_error_for_everybody_who_asks_and_asked_again(autojump_clock):
    zone = Zone()
    resolver = Resolver(zone)
    for number in range(1, 3):
        with pytest.raises(OSError, match="not known"):
            await resolver.addresses("a.test")
        assert len(zone.asked) == number
    zone.found = V4
    assert await resolver.addresses("a.test") == tuple(V4)


async def test_addresses_begin_in_turn_and_those_that_failed_are_last(autojump_clock):
    resolver = Resolver(Zone())
    assert [resolver.order("a.test", V4)[0] for _ in range(4)] == [*V4, *V4]
    resolver.failed(V4[0])
    assert [resolver.order("a.test", V4) for _ in range(2)] == [[V4[1], V4[0]]] * 2
    resolver.answered(V4[0])
    assert {resolver.order("a.test", V4)[0] for _ in range(2)} == set(V4)
    resolver.failed(V4[0])
    await trio.sleep(AVOID + 1)
    assert {resolver.order("a.test", V4)[0] for _ in range(2)} == set(V4)


def test_the_families_alternate_as_rfc_8305_has_it():
    assert in_order([*V4, *V6], 0, "", ()) == ["fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2"]
    assert in_order([*V4, *V6], 1, "", ()) == ["fd00::2", "10.0.0.2", "fd00::1", "10.0.0.1"]
    assert in_order([*V4, *V6], 0, "10.0.0.2", ())[0] == "10.0.0.2"
    assert in_order([*V4, *V6], 0, "10.0.0.2", {"10.0.0.2"})[-1] == "10.0.0.2"


@given(st.sets(st.ip_addresses().map(str), max_size=6), st.integers(0, 9), st.data())
def test_whatever_the_order_each_is_tried_once(addresses, turn, data):
    avoided = data.draw(st.sets(st.sampled_from(sorted(addresses)))) if addresses else set()
    first = data.draw(st.sampled_from(sorted(addresses))) if addresses else ""
    ordered = in_order(sorted(addresses), turn, first, avoided)
    assert sorted(ordered) == sorted(addresses)
    assert set(ordered[len(ordered) - len(avoided) :]) == avoided


async def test_the_system_knows_this_machine():
    assert await system_lookup("127.0.0.2") == ["127.0.0.2"]


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "localhost."])
async def test_localhost_is_both_loopback_addresses_whatever_a_hosts_file_leaves_out(name):
    """Many images name the one of IPv4 only, and an app on ::1 was not reached."""
    assert await system_lookup(name) == ["::1", "127.0.0.1"]


def test_it_says_what_it_is():
    assert repr(Resolver()) == "<Resolver 0 names>"
