"""Chance that is decided beforehand."""

import pytest

from meshd.explain.chance import Drawn


@pytest.mark.parametrize(("draw", "first"), [(0, 0.1), (10, 50), (50, 99.9), (100, 100)])
def test_what_happens_to_more_than_the_draw_happens(draw, first):
    drawn = Drawn(draw).random() * 100
    assert next(share for share in (0, 0.1, 10, 50, 99.9, 100) if drawn < share) == first


def test_it_is_always_the_same():
    drawn = Drawn(7)
    assert {drawn.random() for _ in range(5)} == {0.07}
    assert repr(drawn) == "<Drawn 7 of 100>"
