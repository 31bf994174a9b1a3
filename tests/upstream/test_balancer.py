"""Every algorithm keeps the laws of picking; round robin and chance keep theirs."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.endpoints import assert_shares, make_endpoints, tally

from meshd.upstream.balancer import BALANCERS, MOST_TURNS, RandomChoice, RoundRobin

SIZES = {"MAGLEV": 251, "RING_HASH": 64}  # small tables, so that building them costs a test nothing
WEIGHTS = st.lists(st.integers(0, 6), min_size=1, max_size=9)


def make(name, endpoints, seed=1):
    balancer = BALANCERS[name](Random(seed), SIZES.get(name, 0))
    balancer.update(endpoints)
    return balancer


@pytest.mark.parametrize("name", BALANCERS)
@given(WEIGHTS, st.data())
def test_a_pick_is_a_candidate_whatever_was_asked_before(name, weights, data):
    endpoints = make_endpoints(*weights)
    balancer = make(name, endpoints)
    for _ in range(4):
        some = data.draw(st.sets(st.sampled_from(endpoints), min_size=1))
        candidates = endpoints if len(some) == len(endpoints) else tuple(some)
        for key in range(5):
            assert balancer.pick(candidates, 1.0, key) in candidates


@pytest.mark.parametrize("name", BALANCERS)
def test_whoever_came_later_is_picked_and_who_left_is_not(name):
    endpoints = make_endpoints(1, 1, 1, 1)
    balancer = make(name, endpoints[:3])
    balancer.update(endpoints[1:])
    picked = {balancer.pick(endpoints[1:], 1.0, key) for key in range(500)}
    assert picked == set(endpoints[1:])


@pytest.mark.parametrize("name", BALANCERS)
def test_nobody_at_all_can_be_told(name):
    balancer = make(name, ())
    endpoints = make_endpoints(1, 1)
    balancer.update(endpoints)
    assert balancer.pick(endpoints, 1.0, 7) in endpoints


@pytest.mark.parametrize("name", ["RING_HASH", "MAGLEV", "ROUND_ROBIN"])
def test_a_candidate_the_table_does_not_know_is_still_picked(name):
    known, strangers = make_endpoints(1, 1), make_endpoints(1, 1)
    balancer = make(name, known)
    assert balancer.pick(strangers, 1.0, 3) in strangers


# -- round robin -------------------------------------------------------------------------------------------------------


def cycle(endpoints, seed=1, cycles=1):
    balancer = make("ROUND_ROBIN", endpoints, seed)
    turns = sum(max(1, endpoint.weight) for endpoint in endpoints)
    return [balancer.pick(endpoints, 0.0, 0) for _ in range(turns * cycles)]


@given(WEIGHTS, st.integers(0, 100))
def test_a_cycle_has_exactly_the_weights_wherever_it_begins(weights, seed):
    endpoints = make_endpoints(*weights)
    assert tally(cycle(endpoints, seed), endpoints) == [max(1, weight) for weight in weights]


@given(WEIGHTS)
def test_the_turns_of_one_are_spread_over_the_cycle(weights):
    """Between two turns of the same endpoint lie at most twice as many others as its share would have."""
    endpoints = make_endpoints(*weights)
    picks = cycle(endpoints, cycles=2)
    turns = len(picks) // 2
    for endpoint in endpoints:
        places = [place for place, pick in enumerate(picks) if pick is endpoint]
        widest = max(after - before for before, after in pairwise(places))
        assert widest <= turns / max(1, endpoint.weight) + len(endpoints)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=9), st.data())
def test_stepping_over_one_leaves_the_others_their_weights(weights, data):
    endpoints = make_endpoints(*weights)
    gone = data.draw(st.sampled_from(endpoints))
    candidates = tuple(endpoint for endpoint in endpoints if endpoint is not gone)
    balancer = make("ROUND_ROBIN", endpoints)
    picks = [balancer.pick(candidates, 0.0, 0) for _ in range(sum(weights) - gone.weight)]
    assert tally(picks, candidates) == [endpoint.weight for endpoint in candidates]


def test_many_sidecars_do_not_all_begin_with_the_same():
    endpoints = make_endpoints(*[1] * 10)
    firsts = [make("ROUND_ROBIN", endpoints, seed).pick(endpoints, 0.0, 0) for seed in range(400)]
    assert min(tally(firsts, endpoints)) > 15


def test_huge_weights_do_not_make_a_huge_cycle():
    endpoints = make_endpoints(1_000_000, 3_000_000, 1)
    balancer = RoundRobin(Random(1))
    balancer.update(endpoints)
    picks = [balancer.pick(endpoints, 0.0, 0) for _ in range(MOST_TURNS + 1)]
    assert_shares(picks, endpoints[:2] + endpoints[2:], within=2000.0)  # the light one has its turn
    assert 2.9 < picks.count(endpoints[1]) / picks.count(endpoints[0]) < 3.1


# -- chance ------------------------------------------------------------------------------------------------------------


def test_chance_keeps_the_weights():
    endpoints = make_endpoints(1, 2, 7)
    balancer = RandomChoice(Random(5))
    balancer.update(endpoints)
    assert_shares([balancer.pick(endpoints, 0.0, 0) for _ in range(20_000)], endpoints)


def test_chance_hears_of_new_weights():
    endpoints = make_endpoints(1, 99)
    balancer = RandomChoice(Random(5))
    balancer.update(endpoints)
    balancer.pick(endpoints, 0.0, 0)
    endpoints[0].weight, endpoints[1].weight = 99, 1
    balancer.update(endpoints)
    assert_shares([balancer.pick(endpoints, 0.0, 0) for _ in range(20_000)], endpoints, within=0.3)
