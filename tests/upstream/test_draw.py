"""Drawing one or two by weight: every one can come, none that is not there, and two are always different."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from support.endpoints import assert_shares, make_endpoints

from meshd.upstream.draw import Draw

WEIGHTS = st.lists(st.integers(0, 5), min_size=2, max_size=8)


class Fixed:
    """Chance as written down."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return self.values.pop(0)


@given(WEIGHTS, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_two_are_two_of_the_candidates(weights, first, second):
    endpoints = make_endpoints(*weights)
    one, other = Draw(Fixed(first, second)).two(endpoints)
    assert one is not other
    assert {one, other} <= set(endpoints)


@given(WEIGHTS)
def test_every_point_of_chance_gives_exactly_the_weights(weights):
    endpoints = make_endpoints(*weights)
    counted = [max(1, weight) for weight in weights]  # a weight of nothing counts as one
    total = sum(counted)
    points = [(point + 0.5) / total for point in range(total)]
    drawn = Counter(Draw(Fixed(point)).one(endpoints) for point in points)
    if len(set(counted)) > 1:
        assert [drawn[endpoint] for endpoint in endpoints] == counted


@given(WEIGHTS)
def test_the_second_is_drawn_by_weight_from_what_the_first_left(weights):
    endpoints = make_endpoints(*weights)
    counted = {endpoint: max(1, endpoint.weight) for endpoint in endpoints}
    if len(set(counted.values())) == 1:
        counted = dict.fromkeys(endpoints, 1)
    total = sum(counted.values())
    begin = 0
    for first in endpoints:
        rest = total - counted[first]
        at = (begin + 0.5) / total
        drawn = Counter(Draw(Fixed(at, (point + 0.5) / rest)).two(endpoints) for point in range(rest))
        assert drawn == {(first, other): counted[other] for other in endpoints if other is not first}
        begin += counted[first]


def test_shares_over_many_draws():
    for weights in ((1, 1, 1, 1), (1, 2, 3, 10)):
        endpoints = make_endpoints(*weights)
        draw = Draw(Random(3))
        assert_shares([draw.one(endpoints) for _ in range(20_000)], endpoints)


def test_new_weights_count_once_it_is_told():
    endpoints = make_endpoints(1, 9)
    assert Draw(Fixed(0.5)).one(endpoints) is endpoints[1]
    draw = Draw(Fixed(0.5, 0.5))
    draw.one(endpoints)
    endpoints[0].weight, endpoints[1].weight = 9, 1
    draw.forget()
    assert draw.one(endpoints) is endpoints[0]


def test_other_candidates_are_looked_at_anew():
    endpoints = make_endpoints(1, 9, 1)
    draw = Draw(Fixed(0.5, 0.5))
    assert draw.one(endpoints) is endpoints[1]
    assert draw.one(endpoints[2:]) is endpoints[2]
