"""Ideas about a policy."""

import pytest
from support.authorization import policy, rule
from support.worlds import STOREFRONT, inbound, world_of

from meshd.config.authorization import AuthorizationPolicy
from meshd.explain.policy_edits import PolicyEdit, edit_policy, edits_to_hold, without_rule

AT = ("spec", "rules", 0)


def exchange(**given):
    question = inbound(**given)
    return question.begin(world_of().plan(question))[1]


def edits(*args, **given):
    return list(edits_to_hold(policy(rule(*args)), 0, exchange(**given)))


def test_a_value_more_or_less():
    before = policy(rule(None, {"methods": ["GET"]}), rule(None, {"notPaths": ["/a", "/b"]}))
    more = edit_policy(before, [PolicyEdit(("spec", "rules", 0, "to", 0, "operation", "methods"), "PUT")])
    assert more.spec.rules[0].to[0].operation.methods == ("GET", "PUT")
    less = edit_policy(before, [PolicyEdit(("spec", "rules", 1, "to", 0, "operation", "notPaths"), "/a", removes=True)])
    assert less.spec.rules[1].to[0].operation.not_paths == ("/b",)
    assert less.spec.rules[0] == before.spec.rules[0]
    assert isinstance(less, AuthorizationPolicy)


def test_edits_in_words():
    at = ("spec", "rules", 0, "to", 1, "operation", "methods")
    assert str(PolicyEdit(at, "PUT")) == 'add "PUT" to spec.rules[0].to[1].operation.methods'
    assert str(PolicyEdit(at, "PUT", removes=True)) == 'remove "PUT" from spec.rules[0].to[1].operation.methods'


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"principals": ["x"]}, STOREFRONT.removeprefix("spiffe://")),
        ({"namespaces": ["x"]}, "shop"),
        ({"serviceAccounts": ["x"]}, "shop/storefront"),
        ({"trustDomains": ["x"]}, "td"),
        ({"ipBlocks": ["10.0.0.0/8"]}, "127.0.0.1"),
    ],
)
def test_what_was_seen_is_added_to_sources(source, value):
    [field] = source
    assert edits(source) == [(PolicyEdit((*AT, "from", 0, "source", field), value),)]


def test_what_was_seen_is_added_to_operations():
    wanted = {"methods": ["PUT"], "paths": ["/x"], "hosts": ["h"], "ports": ["1"]}
    [found] = edits(None, wanted)
    assert {(edit.path[-1], edit.value) for edit in found} == {
        ("methods", "GET"),
        ("paths", "/"),
        ("hosts", "reviews.shop"),
    }


def test_nothing_is_not_added():
    assert edits({"principals": ["x"]}, caller="") == [()]


def test_what_stands_against_it_is_removed():
    found = edits({"notNamespaces": ["other", "sh*"]})
    assert found == [(PolicyEdit((*AT, "from", 0, "source", "notNamespaces"), "sh*", removes=True),)]


def test_conditions():
    when = [
        {"key": "request.headers[x]", "values": ["1"], "notValues": ["2"]},
        {"key": "source.namespace", "values": ["a"]},
    ]
    [found] = edits_to_hold(policy(rule(when=when)), 0, exchange(headers=(("x", "2"),)))
    assert [str(edit) for edit in found] == [
        'add "2" to spec.rules[0].when[0].values',
        'remove "2" from spec.rules[0].when[0].notValues',
        'add "shop" to spec.rules[0].when[1].values',
    ]
    claims = [{"key": "request.auth.claims[a]", "values": ["1"]}]
    assert list(edits_to_hold(policy(rule(when=claims)), 0, exchange())) == [()]


def test_a_rule_less():
    assert len(without_rule(policy({}, {}), 1).spec.rules) == 1
    assert without_rule(policy({}), 0).spec.rules == ()
    assert without_rule(policy({}, action="DENY"), 0) is None
