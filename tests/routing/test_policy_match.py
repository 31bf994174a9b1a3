"""What a policy takes: whoever repeats a field, or writes a path otherwise, does not get past it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.path_readings import PIECES, enumerate_readings
from support.requests import request

from meshd.config.http_route import HTTPMatch
from meshd.config.policy_match import PolicyMatch
from meshd.core.errors import ProtocolError
from meshd.core.path_forms import written
from meshd.core.route import Route
from meshd.http.target import read_path
from meshd.routing.matcher import compile_match
from meshd.routing.policy_match import compile_policy_match
from meshd.routing.table import Candidate, RouteTable

PLAIN = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
ODD = st.lists(st.sampled_from(PIECES), max_size=5).map(lambda parts: b"/" + b"".join(parts))


def compiled(**fields):
    return compile_policy_match(PolicyMatch.model_validate(fields))


def takes(matches, head):
    return matches.may(head), matches.must(head)


@given(st.sampled_from(["Exact", "PathPrefix", "RegularExpression"]), PLAIN, st.booleans(), PLAIN, st.booleans())
def test_the_match_of_a_policy_means_what_it_means_in_a_route(kind, value, slash, path, by_method):
    if slash and kind == "PathPrefix" and value != "/":
        value += "/"
    if slash and path != "/":
        path += "/"
    fields = {"path": {"type": kind, "value": value}, **({"method": "GET"} if by_method else {})}
    table = RouteTable([Candidate(compile_match(HTTPMatch.model_validate(fields)), 0, Route("r"))])
    for method in ("GET", "POST"):
        head = request(path, method=method)
        found = table.find(head) is not None
        assert takes(compiled(**fields), head) == (found, found)


@given(ODD, st.sampled_from(["/admin", "/a", "/public/a"]), st.sampled_from(["Exact", "PathPrefix"]))
def test_no_way_of_writing_a_path_gets_past_a_policy(path, value, kind):
    head = request("/")
    try:
        read_path(head, path)
    except ProtocolError:
        return
    matches = compiled(path={"type": kind, "value": value})
    wanted = [
        reading == value.encode() or (kind == "PathPrefix" and reading.startswith(value.encode() + b"/"))
        for reading in map(written, enumerate_readings(path))
    ]
    if any(wanted):
        assert matches.may(head)
    if not all(wanted):
        assert not matches.must(head)
    assert not head.forms or head.path == request_path(path)


def request_path(path):
    head = request("/")
    read_path(head, path)
    return head.path


@pytest.mark.parametrize(
    ("fields", "may", "must"),
    [
        ([("x-plan", "free")], True, True),
        ([("x-plan", "premium")], False, False),
        ([("x-plan", "free"), ("x-plan", "premium")], True, False),
        ([("x-plan", "premium"), ("x-plan", "free")], True, False),
        ([("x-plan", "free"), ("x-plan", "free")], True, False),  # which some apps read as "free,free"
        ([("x_plan", "free")], True, True),
        ([("x-plan", "premium"), ("x_plan", "free")], True, False),
        ([], False, False),
    ],
)
def test_a_header_that_is_sent_twice_got_past_a_policy(fields, may, must):
    for header in ({"value": "free"}, {"value": "f[re]*", "type": "RegularExpression"}):
        matches = compiled(headers=[{"name": "X-Plan", **header}])
        assert takes(matches, request(headers=fields)) == (may, must)


def test_an_expression_over_all_values_at_once():
    matches = compiled(headers=[{"name": "x-a", "value": "1,2", "type": "RegularExpression"}])
    assert takes(matches, request(headers=[("x-a", "1"), ("x-a", "2")])) == (True, False)


def test_what_a_head_has_once():
    matches = compiled(headers=[{"name": "Host", "value": "a.test"}])
    assert takes(matches, request()) == (True, True)
    assert takes(matches, request(authority="b.test")) == (False, False)
    assert takes(compiled(), request()) == (True, True)


@pytest.mark.parametrize(
    ("name", "value", "host", "upgrade", "taken"),
    [
        ("host", "shop.test", "shop.test:8080", None, True),
        ("Host", "Shop.test", "SHOP.test.", None, True),
        ("host", "shop.test:80", "shop.test:80", None, True),
        ("host", "shop.test:80", "shop.test", None, False),
        ("upgrade", "websocket", "shop.test", b"WebSocket", True),
        ("Upgrade", "WebSocket", "shop.test", b"other,websocket", True),
        ("upgrade", "websocket", "shop.test", None, False),
    ],
)
def test_a_name_with_a_port_or_a_protocol_in_capitals_got_past_a_policy(name, value, host, upgrade, taken):
    head = request("/", authority=host.lower())
    head.upgrade = upgrade
    assert compiled(headers=[{"name": name, "value": value}]).may(head) is taken
