"""An index finds the very rule that asking each in its turn would find."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.authorization import SCOPE, peer, rule
from support.requests import exchange_of

from meshd.config.authorization import Rule
from meshd.filters.authz_rules import compile_rule
from meshd.filters.rule_index import FEW, RuleIndex, path_keys, principal_keys

PATTERNS = [
    *("/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "*", "/*", "/a*", "/a/*", "/a/b*", "/a/b/*", "*b", "*/b"),
    *("/{*}", "/a/{*}", "/a/{*}/c", "/{**}/c", "/a/{**}", "a", "a/*"),
]
PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "/ab", "/b", "/b/b", "*", ""]
PRINCIPALS = ["td/ns/a/sa/x", "td/ns/a/sa/y", "old-td/ns/a/sa/x", "cluster.local/ns/a/sa/y", "td/ns/a/*", "*"]

some = {"min_size": 1, "max_size": 2}
operations = st.fixed_dictionaries(
    {}, optional={"paths": st.lists(st.sampled_from(PATTERNS), **some), "methods": st.just(["GET"])}
)
sources = st.fixed_dictionaries(
    {}, optional={"principals": st.lists(st.sampled_from(PRINCIPALS), **some), "notNamespaces": st.just(["b"])}
)
rules = st.builds(
    lambda to, from_: {"to": [{"operation": each} for each in to], "from": [{"source": each} for each in from_]},
    st.lists(operations, max_size=2),
    st.lists(sources, max_size=2),
)
requests = st.builds(
    lambda path, account: exchange_of(target=path, peer=peer("a", account)),
    st.sampled_from(PATHS),
    st.sampled_from("xyz"),
)


def build(documents):
    compiled = []
    for place, each in enumerate(documents):
        model = Rule.model_validate(each)
        compiled.append((SimpleNamespace(place=place, rule=compile_rule(model, "foo", SCOPE, deny=False)), model))
    return RuleIndex(compiled, SCOPE)


@given(st.lists(rules, max_size=FEW * 3), requests)
def test_the_same_as_one_after_the_other(documents, exchange):
    index = build(documents)
    wanted = [entry for entry in index.entries if entry.rule.holds(exchange)]
    assert index.find(exchange) is (wanted[0] if wanted else None)
    assert index.find_all(exchange) == wanted


@pytest.mark.parametrize(
    ("paths", "keys"),
    [
        (["/a", "/b/c"], ({b"/a", b"/b/c"}, set())),
        (["/a/*", "/a/b*", "/a/{*}/c"], (set(), {b"/a"})),
        (["/a/b/*"], (set(), {b"/a/b"})),
        (["/a", "*"], None),
        (["/a*"], None),
        (["*/a"], None),
        (["/{**}/a"], None),
        (["a/*"], None),
    ],
)
def test_keys_of_paths(paths, keys):
    assert path_keys(Rule.model_validate(rule(None, {"paths": paths}))) == keys


def test_a_rule_that_says_nothing_has_no_keys():
    for document in ({}, rule({"namespaces": ["a"]}, {"methods": ["GET"]}), rule({"notPrincipals": ["td/a"]})):
        model = Rule.model_validate(document)
        assert path_keys(model) is None
        assert principal_keys(model, SCOPE) is None


def test_keys_of_principals():
    model = Rule.model_validate(rule({"principals": ["spiffe://td/ns/a/sa/x", "other/ns/a/sa/x"]}))
    assert principal_keys(model, SCOPE) == {b"td/ns/a/sa/x", b"old-td/ns/a/sa/x", b"other/ns/a/sa/x"}


@given(st.lists(rules, max_size=FEW * 3), requests, st.integers(1, 40))
def test_the_nearest_are_those_asked_and_then_the_first(documents, exchange, most):
    index = build(documents)
    found = [entry.place for entry in index.nearest(exchange, most)]
    asked = {place for group in index._candidates(exchange) for place, _ in group}
    assert found == sorted(set(found))
    assert len(found) == min(most, len(documents))
    assert asked <= set(found) or set(found) <= asked
    first = sorted(set(range(len(documents))) - asked)
    assert sorted(set(found) - asked) == first[: len(set(found) - asked)]


def test_few_of_many_rules_are_asked():
    asked = []
    documents = [rule(None, {"paths": [f"/s{place}/*"]}) for place in range(100)]
    documents += [rule({"principals": [f"td/ns/a/sa/s{place}"]}) for place in range(100)]
    index = build(documents)
    for entry in index.entries:
        held = entry.rule
        entry.rule = SimpleNamespace(holds=lambda x, entry=entry, held=held: asked.append(entry.place) or held.holds(x))
    assert index.find(exchange_of(target="/s70/x", peer=peer("a", "s30"))).place == 70
    assert index.find(exchange_of(target="/none", peer=peer("a", "s30"))).place == 130
    assert set(asked) == {70, 130}
    assert repr(index) == "<RuleIndex of 200 rules, 0 always asked>"


def test_a_rule_of_a_folder_is_found_from_any_depth_below_and_not_beside():
    index = build([{"to": [{"operation": {"paths": [f"/a/{number}/*"]}}]} for number in range(FEW * 2)])
    assert index.find(exchange_of(target="/a/3/b/c/d")).place == 3
    assert index.find(exchange_of(target="/a/x/3/b")) is None
    assert index.find(exchange_of(target="/")) is None
