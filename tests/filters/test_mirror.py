"""RequestMirror: who is drawn, and where to."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import exchange_of

from meshd.config.route_filters import RequestMirror
from meshd.filters.mirror import request_step


class Dice(Random):
    """Throws the same each time."""

    def __init__(self, throw):
        super().__init__(0)
        self.throw = throw

    def random(self):
        return self.throw


def mirrored(random, *shares):
    exchange = exchange_of()
    for place, share in enumerate(shares):
        document = RequestMirror.model_validate({"backendRef": {"name": "a", "port": 1}, **share})
        assert request_step(document, f"c{place}", random)(exchange) is None
    return exchange.asked.mirrors if exchange.asked is not None else []


@pytest.mark.parametrize(
    ("share", "throw", "drawn"),
    [
        ({}, 0.999999, True),
        ({"percent": 100}, 0.999999, True),
        ({"percent": 0}, 0.0, False),
        ({"percent": 25}, 0.249, True),
        ({"percent": 25}, 0.25, False),
        ({"fraction": {"numerator": 1, "denominator": 1000}}, 0.0009, True),
        ({"fraction": {"numerator": 1, "denominator": 1000}}, 0.001, False),
    ],
)
def test_the_share_of_the_document(share, throw, drawn):
    assert mirrored(Dice(throw), share) == (["c0"] if drawn else [])


def test_several_mirrors_each_draw():
    assert mirrored(Dice(0.3), {}, {"percent": 10}, {"percent": 50}) == ["c0", "c2"]


@given(st.integers(0, 100), st.integers(0, 2**32))
def test_a_share_is_the_share_of_many(percent, seed):
    random = Random(seed)
    drawn = sum(bool(mirrored(random, {"percent": percent})) for _ in range(400))
    assert abs(drawn / 4 - percent) < 20  # eight standard deviations at the worst share
