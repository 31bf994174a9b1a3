"""HTTPRoute: defaults, paths, rules."""

import pytest
from support.documents import document, problems_of, text_of

from meshd.config.http_route import HTTPMatch, HTTPRoute, HTTPRule, PathMatch, Timeouts

VERSION = "gateway.networking.k8s.io/v1"


def test_defaults():
    route = document(text_of("HTTPRoute", VERSION, "parentRefs: []")).model
    assert isinstance(route, HTTPRoute)
    [rule] = route.spec.rules
    assert rule.matches == (HTTPMatch(),)
    assert (rule.matches[0].path.type, rule.matches[0].path.value) == ("PathPrefix", "/")
    assert (rule.timeouts, rule.retry, rule.backend_refs) == (None, None, ())


def test_weights_and_ports_default():
    text = text_of("HTTPRoute", VERSION, "rules: [{backendRefs: [{name: a, port: 1}]}]")
    [backend] = document(text).model.spec.rules[0].backend_refs
    assert (backend.weight, backend.kind, backend.group, backend.namespace) == (1, "Service", "", None)


@pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a.b/..c", "/a%20b", "/~!$&'()*+,;=:@", "/..a", "/a/.b"])
def test_paths_that_match(path):
    assert [*PathMatch(value=path).faults()] == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "//",
        "/a//b",
        "/./a",
        "/a/../b",
        "/a/..",
        "/a/.",
        "/%2f",
        "/%2F",
        "/a#b",
        "/a b",
        "/é",
        "/%",
        "/%4",
        "/a?b",
        "/\n",
    ],
)
def test_paths_that_could_be_spelt_otherwise(path):
    assert [*PathMatch(value=path).faults()]
    assert [*PathMatch(value=path, type="Exact").faults()]


def test_any_regular_expression_is_a_path():
    assert [*PathMatch(value="a//b/../[%2f]", type="RegularExpression").faults()] == []


@pytest.mark.parametrize(
    ("times", "wrong"),
    [
        ({"request": "1s", "backendRequest": "1s"}, 0),
        ({"request": "1s", "backendRequest": "2s"}, 1),
        ({"request": "0s", "backendRequest": "2s"}, 0),
        ({"backendRequest": "2s"}, 0),
    ],
)
def test_timeouts(times, wrong):
    assert len([*Timeouts.model_validate(times).faults()]) == wrong


REPLACE = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}


@pytest.mark.parametrize("matches", [[], [{}, {}], [{"path": {"type": "Exact", "value": "/a"}}]])
def test_a_prefix_is_replaced_where_one_matched(matches):
    steps = [{"type": "URLRewrite", "urlRewrite": REPLACE}]
    backend = {"name": "a", "port": 1, "filters": [{"type": "RequestRedirect", "requestRedirect": REPLACE}]}
    rule = HTTPRule.model_validate({"matches": matches, "filters": steps, "backendRefs": [backend]})
    ends = [fault.at[-3:] for fault in rule.faults()]
    assert ends == [("urlRewrite", "path", "type"), ("requestRedirect", "path", "type")]
    fine = HTTPRule.model_validate({"filters": steps, "backendRefs": [backend]})
    assert [*fine.faults()] == []


def test_a_permanent_path_of_problems_names_the_rule():
    rules = "rules:\n- name: a\n- name: a\n"
    [problem] = problems_of(text_of("HTTPRoute", VERSION, rules))
    assert (problem.field, problem.line, problem.rule) == ("spec.rules[1].name", 7, "duplicate")


def test_matches_of_all_rules_together_are_bounded():
    matches = ", ".join("{}" for _ in range(64))
    rules = "".join(f"- matches: [{matches}]\n" for _ in range(3))
    [problem] = problems_of(text_of("HTTPRoute", VERSION, f"rules:\n{rules}"))
    assert "at most 128" in problem.expected


def test_codes_to_retry_are_unique():
    [problem] = problems_of(
        text_of("HTTPRoute", VERSION, "rules: [{retry: {codes: [500, 500], attempts: 2, backoff: 100ms}}]")
    )
    assert problem.field == "spec.rules[0].retry.codes[1]"
