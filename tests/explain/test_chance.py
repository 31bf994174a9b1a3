"""Chance that is decided beforehand."""

import pytest

from meshd.explain.chance import Drawn, turns


@pytest.mark.parametrize(("draw", "first"), [(0, 0.1), (10, 50), (50, 99.9), (100, 100)])
def test_what_happens_to_more_than_the_draw_happens(draw, first):
    drawn = Drawn(draw).random() * 100
    assert next(share for share in (0, 0.1, 10, 50, 99.9, 100) if drawn < share) == first


def test_it_is_always_the_same():
    drawn = Drawn(7)
    assert {drawn.random() for _ in range(5)} == {0.07}
    assert repr(drawn) == "<Drawn 7 of 100>"


@pytest.mark.parametrize(
    ("shares", "found"),
    [
        ([], [(100.0, 0)]),
        ([5], [(5.0, 1), (100.0, 0)]),
        ([5, 10], [(5.0, 2), (10.0, 1), (100.0, 0)]),
        ([100], [(100.0, 1)]),
        ([0], [(100.0, 0)]),
        ([0.01, 33.33], [(0.01, 2), (33.33, 1), (100.0, 0)]),
    ],
)
def test_what_a_draw_decides(shares, found):
    def happening(draw):
        drawn = Drawn(draw).random() * 100
        return sum(drawn < share for share in shares)

    assert turns(happening, lambda count: count) == found
