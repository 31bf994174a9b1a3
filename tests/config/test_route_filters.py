"""Filters: unions, lists that contradict themselves."""

import pytest

from meshd.config.route_filters import (
    Cors,
    GRPCFilter,
    HeaderModifier,
    HTTPFilter,
    PathModifier,
    RequestMirror,
    filter_faults,
)

BODIES = {
    "RequestHeaderModifier": ("requestHeaderModifier", {}),
    "ResponseHeaderModifier": ("responseHeaderModifier", {}),
    "RequestMirror": ("requestMirror", {"backendRef": {"name": "a", "port": 1}}),
    "RequestRedirect": ("requestRedirect", {}),
    "URLRewrite": ("urlRewrite", {}),
    "CORS": ("cors", {}),
}


def step(kind):
    return HTTPFilter.model_validate({"type": kind, BODIES[kind][0]: BODIES[kind][1]})


@pytest.mark.parametrize("kind", BODIES)
def test_a_filter_has_its_own_field(kind):
    assert [*step(kind).faults()] == []
    assert [fault.at for fault in HTTPFilter.model_validate({"type": kind}).faults()] == [(BODIES[kind][0],)]


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("other", BODIES)
def test_a_filter_has_no_other_field(kind, other):
    both = {"type": kind, BODIES[kind][0]: BODIES[kind][1], BODIES[other][0]: BODIES[other][1]}
    expected = [] if kind == other else [(BODIES[other][0],)]
    assert [fault.at for fault in HTTPFilter.model_validate(both).faults()] == expected


def test_grpc_has_fewer_filters():
    assert [
        *GRPCFilter.model_validate({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a"}}}).faults()
    ] == []


@pytest.mark.parametrize(
    ("kinds", "places"),
    [
        (["CORS", "CORS"], [1]),
        (["RequestMirror", "RequestMirror"], []),
        (["URLRewrite", "RequestRedirect"], [1]),
        (["RequestHeaderModifier", "ResponseHeaderModifier"], []),
        (["RequestHeaderModifier", "CORS", "RequestHeaderModifier"], [2]),
    ],
)
def test_filters_that_contradict_each_other(kinds, places):
    assert [fault.at for fault in filter_faults([step(kind) for kind in kinds])] == [
        ("filters", place, "type") for place in places
    ]


def test_path_modifiers_have_their_own_field():
    assert [fault.at for fault in PathModifier.model_validate({"type": "ReplaceFullPath"}).faults()] == [
        ("replaceFullPath",)
    ]


def test_headers_are_edited_once():
    twice = [{"name": "a", "value": "b"}, {"name": "a", "value": "c"}]
    edits = HeaderModifier.model_validate({"set": twice, "add": twice, "remove": ["a", "a"]})
    assert [fault.at for fault in edits.faults()] == [("set", 1, "name"), ("add", 1, "name"), ("remove", 1)]


def mirror(**share):
    return RequestMirror.model_validate({"backendRef": {"name": "a", "port": 1}, **share})


def test_the_share_of_a_mirror():
    assert mirror().share == 1
    assert mirror(percent=25).share == 0.25
    assert mirror(fraction={"numerator": 1, "denominator": 8}).share == 0.125
    assert [fault.at for fault in mirror(percent=1, fraction={"numerator": 1}).faults()] == [("fraction",)]
    over = mirror(fraction={"numerator": 101}).fraction
    assert over is not None
    assert [fault.at for fault in over.faults()] == [("numerator",)]


def test_a_star_stands_alone():
    cors = {
        "allowOrigins": ["https://a.b", "*"],
        "allowMethods": ["*"],
        "allowHeaders": ["*", "*"],
        "exposeHeaders": ["a", "a"],
    }
    found = [fault.at for fault in Cors.model_validate(cors).faults()]
    assert found == [("allowOrigins", 1), ("allowHeaders", 1), ("allowHeaders", 0), ("exposeHeaders", 1)]


@pytest.mark.parametrize("value", ["/a/b", "", "/", "/%41", "a", "/a b", "/a?b=c", "/a\r\nx: y", "/a\n", "/a#b", "/%4"])
@pytest.mark.parametrize("kind", ["ReplaceFullPath", "ReplacePrefixMatch"])
def test_a_new_path_is_one_that_can_be_sent(kind, value):
    name = kind[0].lower() + kind[1:]
    faults = [*PathModifier.model_validate({"type": kind, name: value}).faults()]
    good = value in ("/a/b", "", "/", "/%41")
    assert [fault.at for fault in faults] == ([] if good else [(name,)])
