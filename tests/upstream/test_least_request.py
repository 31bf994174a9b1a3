"""The less loaded of two, for its weight; and the spread it makes."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from support.endpoints import assert_shares, make_endpoints

from meshd.upstream.least_request import LeastRequest

MEMBERS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 20)), min_size=2, max_size=8)


def make(endpoints, seed=1):
    balancer = LeastRequest(Random(seed))
    balancer.update(endpoints)
    return balancer


@given(MEMBERS, st.integers(0, 1000))
def test_whoever_is_busiest_for_its_weight_is_never_picked(members, seed):
    endpoints = make_endpoints(*[weight for weight, _ in members])
    for endpoint, (_, active) in zip(endpoints, members, strict=True):
        endpoint.active = active
    load = {endpoint: endpoint.active / endpoint.weight for endpoint in endpoints}
    busiest = max(load.values())
    picked = make(endpoints, seed).pick(endpoints, 0.0, 0)
    if list(load.values()).count(busiest) == 1:
        assert load[picked] < busiest


def test_with_two_the_less_loaded_is_always_picked():
    endpoints = make_endpoints(1, 1)
    endpoints[0].active = 1
    assert {make(endpoints, seed).pick(endpoints, 0.0, 0) for seed in range(20)} == {endpoints[1]}


def test_one_alone_needs_no_chance():
    endpoints = make_endpoints(1)
    assert make(endpoints).pick(endpoints, 0.0, 0) is endpoints[0]


def test_an_idle_cluster_spreads_by_weight():
    endpoints = make_endpoints(1, 2, 5)
    balancer = make(endpoints)
    assert_shares([balancer.pick(endpoints, 0.0, 0) for _ in range(20_000)], endpoints)


def test_requests_under_way_end_up_in_proportion_to_the_weights():
    endpoints = make_endpoints(1, 2, 5)
    balancer = make(endpoints)
    picks = []
    for _ in range(800):  # none of which ends
        picks.append(balancer.pick(endpoints, 0.0, 0))
        picks[-1].active += 1
    assert_shares(picks, endpoints, within=0.05)


def test_the_fullest_of_many_is_hardly_fuller_than_the_mean():
    endpoints = make_endpoints(*[1] * 20)
    balancer = make(endpoints)
    for _ in range(2000):
        balancer.pick(endpoints, 0.0, 0).active += 1
    assert max(endpoint.active for endpoint in endpoints) <= 105
