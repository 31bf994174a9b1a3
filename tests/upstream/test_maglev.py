"""Maglev's table: every slot owned, as even as promised, and hardly moved when somebody leaves."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.endpoints import assert_shares, make_endpoints

from meshd.upstream.maglev import TABLE_SIZE, Maglev, fill_table

SIZE = 1021  # a prime, as it has to be
WEIGHTS = st.lists(st.integers(1, 6), min_size=1, max_size=8)


def make(endpoints, size=SIZE):
    maglev = Maglev(Random(1), size)
    maglev.update(endpoints)
    return maglev


@given(WEIGHTS)
def test_slots_are_shared_out_by_weight_to_within_a_turn(weights):
    slots = Counter(fill_table(make_endpoints(*weights), SIZE))
    heaviest, total = max(weights), sum(weights)
    rounds = SIZE * heaviest / total
    for number, weight in enumerate(weights):
        assert abs(slots[number] - rounds * weight / heaviest) <= 2
    assert sum(slots.values()) == SIZE


@given(WEIGHTS, st.integers())
def test_a_key_stays_where_it_is_whatever_order_endpoints_come_in(weights, key):
    endpoints = make_endpoints(*weights)
    there = make(endpoints, 101).pick(endpoints, 0.0, key)
    assert make(endpoints[::-1], 101).pick(endpoints[::-1], 9.0, key) is there


def test_an_endpoint_that_is_no_candidate_gives_up_its_own_keys_and_no_others():
    endpoints = make_endpoints(1, 1, 1, 1, 1)
    maglev = make(endpoints)
    rest = endpoints[1:]
    for key in range(2000):
        was, then = maglev.pick(endpoints, 0.0, key), maglev.pick(rest, 0.0, key)
        assert was is then or (was is endpoints[0] and then in rest)


@pytest.mark.parametrize("count", [3, 10, 50])
def test_one_that_leaves_moves_little_more_than_its_share(count):
    """NSDI 2016, section 5.3: a table hundreds of times as long as there are endpoints moves a few per cent more."""
    endpoints = make_endpoints(*[1] * count)
    names = sorted(endpoints, key=lambda endpoint: endpoint.name)
    before = fill_table(names, 10007)
    gone, rest = names[1], [each for each in names if each is not names[1]]
    after = fill_table(rest, 10007)
    moved = sum(names[was] is not rest[now] for was, now in zip(before, after, strict=True) if names[was] is not gone)
    assert moved / 10007 < 0.1


def test_the_usual_table_is_even_and_keys_are_spread_over_it():
    endpoints = make_endpoints(1, 2, 3)
    slots = Counter(fill_table(endpoints, TABLE_SIZE))
    assert [round(slots[number] * 6 / TABLE_SIZE, 2) for number in range(3)] == [1.0, 2.0, 3.0]
    maglev = make(endpoints)
    assert_shares([maglev.pick(endpoints, 0.0, key) for key in range(6000)], endpoints)
