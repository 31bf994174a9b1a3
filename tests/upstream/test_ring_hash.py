"""A ring: the same key the same endpoint, in every process; who leaves takes only its own keys along."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.endpoints import assert_shares, make_endpoints

from meshd.upstream.ring_hash import MASK, RingHash, points_of, spread

KEYS = range(3000)


def make(endpoints, size=0):
    ring = RingHash(Random(1), size)
    ring.update(endpoints)
    return ring


def owners(ring, candidates, keys=KEYS):
    return [ring.pick(candidates, 0.0, key) for key in keys]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers())
def test_a_key_stays_where_it_is_whatever_order_endpoints_come_in(weights, key):
    endpoints = make_endpoints(*weights)
    there = make(endpoints, 64).pick(endpoints, 0.0, key)
    assert make(endpoints[::-1], 64).pick(endpoints[::-1], 9.0, key) is there


@pytest.mark.parametrize("gone", range(5))
def test_who_leaves_moves_only_its_own_keys_and_about_its_share_of_them(gone):
    endpoints = make_endpoints(1, 1, 1, 1, 1)
    rest = tuple(endpoint for endpoint in endpoints if endpoint is not endpoints[gone])
    before = owners(make(endpoints, 2048), endpoints)
    stepped_over = owners(make(endpoints, 2048), rest)
    for was, then in zip(before, stepped_over, strict=True):
        assert then is not endpoints[gone]
        assert was is then or was is endpoints[gone]
    rebuilt = owners(make(rest, 2048), rest)
    moved = sum(was is not then for was, then in zip(before, rebuilt, strict=True))
    assert moved / len(KEYS) < 0.35  # 0.2 is its share; the points of others are a few more now


def test_keys_of_one_that_left_are_spread_over_the_others():
    endpoints = make_endpoints(1, 1, 1, 1, 1)
    before = owners(make(endpoints), endpoints)
    after = owners(make(endpoints), endpoints[1:])
    heirs = [then for was, then in zip(before, after, strict=True) if was is endpoints[0]]
    assert_shares(heirs, endpoints[1:], within=0.5)


def test_shares_follow_the_weights():
    endpoints = make_endpoints(1, 2, 4)
    assert_shares(owners(make(endpoints, 4096), endpoints), endpoints, within=0.2)


def test_a_weight_of_nothing_still_has_a_place():
    endpoints = make_endpoints(0, 1)
    assert set(owners(make(endpoints), endpoints)) == set(endpoints)


@given(st.integers(), st.integers(0, 40), st.integers(0, 40))
def test_places_are_64_bits_and_fewer_points_are_a_beginning_of_more(key, few, more):
    assert 0 <= spread(key) <= MASK
    assert spread(key) == spread(key & MASK)
    points = points_of("10.0.0.1:80", few + more)
    assert len(points) == few + more
    assert points[:few] == points_of("10.0.0.1:80", few)
