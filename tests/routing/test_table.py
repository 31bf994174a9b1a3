"""The compiled table answers as a search through all matches would, in the precedence of the Gateway API."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.requests import request

from meshd.config.http_route import HTTPMatch
from meshd.core.route import Route
from meshd.routing.matcher import compile_match
from meshd.routing.table import Candidate, RouteTable

segments = st.sampled_from(["a", "b", "ab", "a.b"])
literals = st.lists(segments, max_size=3).map(lambda parts: "/" + "/".join(parts))
slashed = st.tuples(literals, st.sampled_from(["", "/"])).map(lambda both: (both[0].rstrip("/") + both[1]) or "/")
regexes = st.sampled_from(["/a.*", "/[ab]", "/.*", "/a/b|/b", "(/a)+"])
pairs = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2)
methods = st.sampled_from(["GET", "POST"])


@st.composite
def matches(draw):
    kind = draw(st.sampled_from(["Exact", "PathPrefix", "PathPrefix", "RegularExpression"]))
    document = {"path": {"type": kind, "value": draw(regexes if kind == "RegularExpression" else slashed)}}
    document["headers"] = [{"name": name, "value": value} for name, value in draw(pairs).items()]
    document["queryParams"] = [{"name": name, "value": value} for name, value in draw(pairs).items()]
    if draw(st.booleans()):
        document["method"] = draw(methods)
    return HTTPMatch.model_validate(document)


@st.composite
def requests(draw):
    query = "&".join(f"{name}={value}" for name, value in draw(pairs).items())
    target = draw(slashed) + ("?" + query if query else "")
    return request(target, draw(methods), headers=list(draw(pairs).items()))


def table_of(wanted):
    """One route a match, named by its place."""
    return RouteTable(Candidate(compile_match(each), place, Route(str(place))) for place, each in enumerate(wanted))


def path_holds(match, path):
    """HTTPPathMatch: a prefix is a prefix of whole segments."""
    if match.path.type == "Exact":
        return path == match.path.value
    if match.path.type == "RegularExpression":
        return re.fullmatch(match.path.value, path) is not None
    wanted = [part for part in match.path.value.split("/") if part]
    return [part for part in path.split("/") if part][: len(wanted)] == wanted


def holds(match, head):
    sent = {name.decode(): value.decode() for name, value in head.headers}
    query = dict(pair.split("=") for pair in (head.query or b"").decode().split("&") if pair)
    return (
        path_holds(match, head.path.decode())
        and (match.method is None or match.method.encode() == head.method)
        and all(sent.get(each.name) == each.value for each in match.headers)
        and all(query.get(each.name) == each.value for each in match.query_params)
    )


def precedence(match):
    """HTTPRouteRule: an exact path, (a regular expression,) the longest path, a method, headers, parameters."""
    rank = ["PathPrefix", "RegularExpression", "Exact"].index(match.path.type)
    value = match.path.value.rstrip("/") if match.path.type == "PathPrefix" else match.path.value
    return (rank, len(value), match.method is not None, len(match.headers), len(match.query_params))


def naive(wanted, head):
    """The place of the match that takes the request: the first among the most specific that hold."""
    found = [place for place, each in enumerate(wanted) if holds(each, head)]
    return max(found, key=lambda place: (precedence(wanted[place]), -place), default=None)


@settings(max_examples=150)
@given(st.lists(matches(), max_size=8), st.lists(requests(), min_size=1, max_size=8))
@pytest.mark.slow
def test_the_table_answers_as_the_naive_search(wanted, heads):
    table = table_of(wanted)
    for head in heads:
        found = table.find(head)
        assert (None if found is None else int(found.name)) == naive(wanted, head)


@given(st.lists(matches(), min_size=1, max_size=6), requests(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter_beyond_their_rank(wanted, head, random):
    candidates = [Candidate(compile_match(each), place, Route(str(place))) for place, each in enumerate(wanted)]
    shuffled = random.sample(candidates, len(candidates))
    assert RouteTable(candidates).find(head) == RouteTable(shuffled).find(head)


@given(st.lists(matches(), min_size=1, max_size=6), requests())
def test_a_match_that_holds_more_often_never_takes_a_request_away(wanted, head):
    """A catch-all of the lowest rank answers only what nothing else does."""
    before = table_of(wanted).find(head)
    catch_all = Candidate(compile_match(HTTPMatch()), len(wanted), Route("all"))
    candidates = [Candidate(compile_match(each), place, Route(str(place))) for place, each in enumerate(wanted)]
    after = RouteTable([*candidates, catch_all]).find(head)
    assert after is not None
    assert after.name == ("all" if before is None else before.name)


@pytest.mark.parametrize(
    ("path", "taken"),
    [("/abc", True), ("/abc/", True), ("/abc/def", True), ("/abcd", False), ("/ab", False), ("/", False)],
)
def test_a_prefix_is_made_of_whole_segments(path, taken):
    table = table_of([HTTPMatch.model_validate({"path": {"value": "/abc"}})])
    assert (table.find(request(path)) is not None) is taken


def test_an_empty_table_takes_nothing():
    assert RouteTable(()).find(request()) is None


@pytest.mark.parametrize(("path", "method"), [("*", "OPTIONS"), ("", "CONNECT")])
def test_targets_that_are_no_paths_take_the_route_of_everything(path, method):
    """Beside another route, so that the short cut for a single one is not what answers."""
    table = table_of([HTTPMatch.model_validate({"path": {"value": "/abc"}}), HTTPMatch()])
    found = table.find(request(path, method))
    assert found is not None
    assert found.name == "1"


def test_an_exact_match_that_fails_otherwise_gives_way():
    exact = HTTPMatch.model_validate({"path": {"type": "Exact", "value": "/a"}, "method": "POST"})
    table = table_of([exact, HTTPMatch.model_validate({"path": {"value": "/a"}})])
    assert table.find(request("/a")).name == "1"
    assert table.find(request("/a", "POST")).name == "0"


def test_it_lists_its_routes_once():
    route = Route("r")
    both = [HTTPMatch.model_validate({"path": {"value": value}}) for value in ("/a", "/b")]
    table = RouteTable(Candidate(compile_match(each), 0, route) for each in both)
    assert table.routes == (route,)
    assert repr(table) == "<RouteTable 1 routes>"


def test_thousands_of_segments_are_not_tried_one_by_one():
    """A walk that tries them all copies the square of the path's length: seconds for one of 60 KB."""
    table = table_of([HTTPMatch.model_validate({"path": {"value": value}}) for value in ("/", "/a/a/a")])
    deep = request()
    deep.path = b"/a" * 500_000
    began = time.perf_counter()
    assert table.find(deep).name == "1"
    deep.path = b"/b" * 500_000
    assert table.find(deep).name == "0"
    assert time.perf_counter() - began < 5
