"""Positions: found by path, and packed for another process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.config.spot import Spot

numbers = st.integers(1, 10**6)
leaves = st.builds(Spot, numbers, numbers, numbers, numbers)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        Spot,
        numbers,
        numbers,
        numbers,
        numbers,
        st.dictionaries(st.integers(0, 9) | st.text(max_size=3), inner, min_size=1),
    ),
    max_leaves=10,
)


@given(trees)
@pytest.mark.slow
def test_positions_travel_packed(spot):
    assert Spot.unpack(spot.pack()) == spot


def test_find_goes_as_far_as_it_can():
    leaf = Spot(2, 5, 2, 3)
    root = Spot(1, 1, 1, 1, {"a": Spot(2, 1, 1, 1, {0: leaf})})
    assert root.find(("a", 0)) is leaf
    assert root.find(("a", 0, "b")) is leaf
    assert root.find(("a", 1))[:2] == (2, 1)
    assert root.find(("b",)) is root
