"""One match against one request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import request

from meshd.config.http_route import HTTPMatch, QueryParamMatch
from meshd.routing.matcher import compile_match, query_value


def match(**fields):
    return compile_match(HTTPMatch.model_validate(fields))


def holds(compiled, head):
    return all(predicate(head) for predicate in compiled.predicates)


def header(name, value, kind="Exact"):
    return {"name": name, "value": value, "type": kind}


def test_an_empty_match_is_the_prefix_of_everything():
    compiled = match()
    assert (compiled.kind, compiled.path, compiled.predicates) == ("PathPrefix", b"", ())


@pytest.mark.parametrize("value", ["/shop", "/shop/"])
def test_the_slash_at_the_end_of_a_prefix_says_nothing(value):
    compiled = match(path={"type": "PathPrefix", "value": value})
    assert compiled.path == b"/shop"
    assert compiled.specificity == (0, 5, False, 0, 0)


def test_an_exact_path_keeps_its_slash():
    assert match(path={"type": "Exact", "value": "/shop/"}).path == b"/shop/"


@pytest.mark.parametrize(
    ("path", "expected"), [("/v1/a", True), ("/v12/a", True), ("/v1/a/b", False), ("/x/v1/a", False), ("/v1/", False)]
)
def test_a_regular_expression_takes_all_of_the_path(path, expected):
    assert holds(match(path={"type": "RegularExpression", "value": "/v[0-9]+/[a-z]"}), request(path)) is expected


def test_a_regular_expression_does_not_see_the_query():
    assert holds(match(path={"type": "RegularExpression", "value": "/a"}), request("/a?b=c"))


def test_methods_compare_with_case():
    assert holds(match(method="GET"), request(method="GET"))
    assert not holds(match(method="GET"), request(method="get"))
    assert not holds(match(method="GET"), request(method="POST"))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([("VERSION", "two")], True),
        ([("version", "TWO")], False),
        ([("version", "two"), ("version", "two")], False),  # is "two,two", as one field would be
        ([], False),
    ],
)
def test_header_names_compare_without_case_and_values_with_it(sent, expected):
    assert holds(match(headers=[header("Version", "two")]), request(headers=sent)) is expected


def test_a_regular_expression_takes_all_of_a_header():
    compiled = match(headers=[header("version", "v[0-9]", "RegularExpression")])
    assert holds(compiled, request(headers=[("version", "v2")]))
    assert not holds(compiled, request(headers=[("version", "v22")]))
    assert not holds(compiled, request())


@pytest.mark.parametrize("kind", ["Exact", "RegularExpression"])
def test_host_is_the_authority(kind):
    compiled = match(headers=[header("Host", "shop.test:8080", kind)])
    assert holds(compiled, request(authority="shop.test:8080"))
    assert not holds(compiled, request(authority="other.test"))


def test_host_compares_without_case():
    assert holds(match(headers=[header("host", "Shop.Test")]), request(authority="shop.test"))


@pytest.mark.parametrize("kind", ["Exact", "RegularExpression"])
def test_upgrade_is_what_the_codec_took_out(kind):
    compiled = match(headers=[header("Upgrade", "websocket", kind)])
    head = request()
    assert not holds(compiled, head)
    head.upgrade = b"websocket"
    assert holds(compiled, head)


def test_all_conditions_must_hold():
    compiled = match(
        method="GET", headers=[header("a", "1"), header("b", "2")], queryParams=[{"name": "c", "value": "3"}]
    )
    good = {"target": "/?c=3", "headers": [("a", "1"), ("b", "2")]}
    assert holds(compiled, request(**good))
    for worse in ({"method": "POST"}, {"headers": [("a", "1")]}, {"target": "/?c=4"}, {"target": "/"}):
        assert not holds(compiled, request(**(good | worse)))
    assert compiled.specificity == (0, 0, True, 2, 1)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (None, None),
        (b"", None),
        (b"a", b""),
        (b"a=", b""),
        (b"a=1&a=2", b"1"),
        (b"b=1&a=2", b"2"),
        (b"A=1", None),
        (b"%61=%31", b"1"),
        (b"a=x+y%2Bz", b"x y+z"),
        (b"a=1;b=2", b"1;b=2"),
        (b"a=b=c", b"b=c"),
        (b"&&a=1", b"1"),
    ],
)
def test_the_first_value_of_a_query_parameter_counts(query, value):
    assert query_value(query, b"a") == value


def test_query_parameters_compare_with_case_and_whole():
    exact = match(queryParams=[{"name": "animal", "value": "whale"}])
    assert holds(exact, request("/?animal=whale"))
    assert not holds(exact, request("/?animal=Whale"))
    assert not holds(exact, request("/?Animal=whale"))
    regex = match(queryParams=[{"name": "animal", "value": "wh.*", "type": "RegularExpression"}])
    assert holds(regex, request("/?animal=whale"))
    assert not holds(regex, request("/?animal=awhale"))
    assert not holds(regex, request("/?other=whale"))


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=3))
def test_no_query_is_too_odd(query, name):
    value = query_value(query, name)
    assert value is None or isinstance(value, bytes)


def test_of_two_entries_for_one_header_both_were_asked_for():
    """Neither value reached the rule: the specification has only the first considered."""
    twice = match(headers=[header("version", "one"), header("Version", "two")])
    assert holds(twice, request(headers=[("version", "one")]))
    assert not holds(twice, request(headers=[("version", "two")]))
    assert twice.specificity == match(headers=[header("version", "one")]).specificity
    assert [each.value for each in twice.source.headers] == ["one"]


def test_of_two_entries_for_one_parameter_the_first_is_considered():
    given = HTTPMatch.model_construct(
        query_params=tuple(
            QueryParamMatch(name=name, value=value) for name, value in (("a", "1"), ("a", "2"), ("A", "3"))
        )
    )
    twice = compile_match(given)
    assert holds(twice, request("/?a=1&A=3"))
    assert not holds(twice, request("/?a=2&A=3"))
    assert twice.specificity[4] == 2


def test_a_path_matches_in_its_normal_form():
    assert match(path={"type": "Exact", "value": "/%7euser/caf%c3%a9"}).path == b"/~user/caf%C3%A9"
    assert match(path={"type": "PathPrefix", "value": "/a%5b0%5d/"}).path == b"/a%5B0%5D"
