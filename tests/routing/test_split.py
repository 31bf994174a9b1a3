"""A split follows its weights, and where it is sticky, its key."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import exchange_of

from meshd.core.asked import Asked
from meshd.core.peer import Peer
from meshd.core.route import Route, Target
from meshd.routing.split import pick_target, sticky_key

weights = st.lists(st.integers(0, 1000), max_size=6)


def route_of(given_weights, sticky=""):
    targets = tuple(Target(f"c{place}", weight) for place, weight in enumerate(given_weights))
    return Route("r", targets=targets, total_weight=sum(given_weights), sticky=sticky)


class Fixed(Random):
    """A source that always says the same."""

    def __init__(self, value):
        super().__init__(0)
        self.value = value

    def random(self):
        return self.value


@given(weights, st.floats(0, 1, exclude_max=True))
def test_a_target_is_taken_for_its_share_of_the_line(given_weights, point):
    """Target i owns [sum of the weights before it, that and its own) of the total."""
    taken = pick_target(route_of(given_weights), exchange_of(), Fixed(point))
    place = int(point * sum(given_weights))
    owners = [f"c{each}" for each, weight in enumerate(given_weights) for _ in range(weight)]
    assert (taken.cluster if taken else None) == (owners[place] if owners else None)


def test_shares_come_out_as_weighed():
    route, random = route_of([70, 0, 30]), Random(1)
    taken = [pick_target(route, exchange_of(), random).cluster for _ in range(4000)]
    assert "c1" not in taken
    assert abs(taken.count("c0") / 4000 - 0.7) < 0.03


@pytest.mark.parametrize("given_weights", [[], [0], [0, 0]])
def test_where_nothing_weighs_anything_nothing_is_taken(given_weights):
    assert pick_target(route_of(given_weights), exchange_of(), Random(1)) is None
    sticky = route_of(given_weights, "header:user")
    assert pick_target(sticky, exchange_of(headers=[("user", "u")]), Random(1)) is None


@given(weights.filter(any), st.text(min_size=1, max_size=20), st.integers(), st.integers())
def test_the_same_key_takes_the_same_side_whatever_the_chance(given_weights, user, one, two):
    route = route_of(given_weights, "header:user")
    exchange = exchange_of(headers=[("user", user)])
    assert pick_target(route, exchange, Random(one)) == pick_target(route, exchange, Random(two))


def test_sticky_keys_follow_the_weights_too():
    route, random = route_of([90, 10], "header:user"), Random(1)
    taken = [pick_target(route, exchange_of(headers=[("user", f"u{n}")]), random).cluster for n in range(4000)]
    assert abs(taken.count("c1") / 4000 - 0.1) < 0.02


@given(weights.filter(lambda each: sum(each) > 1), st.text(min_size=1, max_size=20))
def test_a_sticky_key_never_takes_a_side_of_weight_zero(given_weights, user):
    taken = pick_target(route_of(given_weights, "header:user"), exchange_of(headers=[("user", user)]), Random(1))
    assert taken.weight > 0


def test_without_the_key_chance_decides():
    route = route_of([1, 1], "header:user")
    assert pick_target(route, exchange_of(), Fixed(0.1)).cluster == "c0"
    assert pick_target(route, exchange_of(), Fixed(0.9)).cluster == "c1"


@pytest.mark.parametrize(
    ("sticky", "key"),
    [
        ("request-id", b"r-1"),
        ("principal", b"td/ns/a/sa/b"),
        ("header:user", b"u"),
        ("header:User", b"u"),
        ("header:other", None),
        ("cookie:session", b"s=1"),
        ("cookie:empty", b""),
        ("cookie:sess", None),
    ],
)
def test_the_key_is_what_the_route_says(sticky, key):
    exchange = exchange_of(
        peer=Peer("10.0.0.1", principal=b"td/ns/a/sa/b"),
        headers=[("user", "u"), ("cookie", "x=1; session=s=1"), ("cookie", "empty=")],
    )
    exchange.request_id = b"r-1"
    assert sticky_key(sticky, exchange) == key


@pytest.mark.parametrize("sticky", ["request-id", "principal", "header:user", "cookie:session"])
def test_a_request_may_lack_every_key(sticky):
    assert sticky_key(sticky, exchange_of()) is None


@given(st.lists(st.integers(0, 5), min_size=2, max_size=5), st.integers(0, 6), st.floats(0, 0.999))
def test_a_session_stays_at_its_side_unless_that_takes_nothing(given_weights, side, throw):
    route = route_of(given_weights)
    exchange = exchange_of()
    exchange.asked = Asked()
    exchange.asked.cluster = f"c{side}"
    chosen = pick_target(route, exchange, Fixed(throw))
    if side < len(given_weights) and given_weights[side]:
        assert chosen.cluster == f"c{side}"
    else:
        assert chosen == pick_target(route, exchange_of(), Fixed(throw))


def test_a_key_of_its_own_takes_one_side_for_all():
    sides = {pick_target(route_of([1, 1], f"key:spiffe://a/{caller}"), exchange_of(), Random()) for caller in range(9)}
    assert len(sides) == 2
    for caller in range(9):
        route = route_of([1, 1], f"key:spiffe://a/{caller}")
        assert len({pick_target(route, exchange_of(), Random()) for _ in range(9)}) == 1
