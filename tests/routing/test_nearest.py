"""What may have been meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.routing.nearest import COMPARED, LOOKED_AT, distance, nearest

KNOWN = ("web", "reviews", "reviews.default", "ratings", "web.default.svc.cluster.local")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("wep", "web"),
        ("ewb", "web"),
        ("we", "web"),
        ("review", "reviews"),
        ("reveiws", "reviews"),
        ("reviews.defalt", "reviews.default"),
        ("web.default.svc.clutser.local", "web.default.svc.cluster.local"),
        ("x", ""),
        ("orders", ""),
        ("abc", ""),
    ],
)
def test_the_name_that_may_have_been_meant(name, meant):
    assert nearest(name, KNOWN) == meant


def slips(one, other):
    """The distance, written down as it is defined."""
    if not one or not other:
        return len(one) + len(other)
    found = [slips(one[1:], other) + 1, slips(one, other[1:]) + 1, slips(one[1:], other[1:]) + (one[0] != other[0])]
    if len(one) > 1 and len(other) > 1 and (one[0], one[1]) == (other[1], other[0]):
        found.append(slips(one[2:], other[2:]) + 1)
    return min(found)


texts = st.text("abc", max_size=5)


@given(texts, texts, st.integers(0, 3))
def test_the_distance_is_what_it_is_said_to_be(one, other, most):
    assert distance(one, other, most) == min(slips(one, other), most + 1)


def test_however_many_names_there_are_only_so_many_are_looked_at():
    looked_at = 0

    def names():
        nonlocal looked_at
        for number in range(LOOKED_AT * 2):
            looked_at += 1
            yield f"another-name-altogether-{number}"

    assert nearest("service", names()) == ""
    assert looked_at <= LOOKED_AT + 1


def test_only_so_many_of_those_that_may_be_meant_are_compared():
    near = [f"service-{number:02}" for number in range(COMPARED)]
    assert nearest("service-xx", [*near, "service-x"]) != "service-x"
    assert nearest("service-xx", ["service-x", *near]) == "service-x"
