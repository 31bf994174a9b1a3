"""One match against one request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import request

from meshd.config.http_route import HTTPMatch
from meshd.config.policy_match import PolicyMatch
from meshd.core.route import Route
from meshd.routing.matcher import compile_match, compile_policy_match, query_value
from meshd.routing.table import Candidate, RouteTable


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


PATHS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.sampled_from(["Exact", "PathPrefix", "RegularExpression"]), PATHS, st.booleans(), PATHS, st.booleans())
def test_the_match_of_a_policy_means_what_it_means_in_a_route(kind, value, slash, path, by_method):
    if slash and kind == "PathPrefix" and value != "/":
        value += "/"
    if slash and path != "/":
        path += "/"
    fields = {"path": {"type": kind, "value": value}, **({"method": "GET"} if by_method else {})}
    table = RouteTable([Candidate(match(**fields), 0, Route("r"))])
    alone = compile_policy_match(PolicyMatch.model_validate(fields))
    for method in ("GET", "POST"):
        head = request(path, method=method)
        assert alone(head) is (table.find(head) is not None)
