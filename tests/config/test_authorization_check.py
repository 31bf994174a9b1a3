"""AuthorizationPolicies that do not do what they look like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.authorization import policy, rule

from meshd.config.authorization_check import admits_nobody_without_certificates, check_authorization
from meshd.config.documents import Document, Documents
from meshd.config.spot import Spot


def warnings(*rules, **given):
    document = Document(policy(*rules, **given), "f.yaml", Spot(1, 1, 1, 1))
    return [(each.field, each.message) for each in check_authorization(Documents(authorization_policies=(document,)))]


GET = rule(None, {"methods": ["GET"]})


def test_nothing_to_say():
    assert warnings(GET, rule({"namespaces": ["a"]}), {}, action="DENY", name="x")[2:] == []
    assert warnings(GET, rule({"namespaces": ["a"]})) == []
    assert warnings({}) == []


def test_an_allow_that_admits_nobody():
    [(field, message)] = warnings()
    assert (field, message.partition(";")[0]) == ("spec", "an ALLOW policy without rules admits nobody")


def test_allow_nothing_beside_what_is_allowed_is_no_mistake():
    def found(*policies):
        documents = tuple(Document(each, "f.yaml", Spot(1, 1, 1, 1)) for each in policies)
        return list(check_authorization(Documents(authorization_policies=documents)))

    nothing = policy(name="allow-nothing")
    assert found(nothing, policy(GET, name="readers")) == []
    assert len(found(nothing, policy(GET, name="no-reads", action="DENY"))) == 1
    assert len(found(nothing, policy(GET, name="readers", namespace="far-away"))) == 1


@pytest.mark.parametrize(("rules", "field"), [((GET, {}), "spec.rules[0]"), (({}, GET), "spec.rules[1]")])
def test_a_rule_that_everything_covers(rules, field):
    [(found, message)] = warnings(*rules)
    assert found == field
    assert "matches every request" in message


def test_a_rule_said_twice():
    assert warnings(GET, rule({"namespaces": ["a"]}), GET) == [
        ("spec.rules[2]", "never decides: spec.rules[0] matches the same requests; remove one of the two")
    ]
    assert [field for field, _ in warnings({}, {})] == ["spec.rules[1]"]


def test_alternatives_of_which_one_asks_for_nothing():
    loose = {"to": [{"operation": {"methods": ["PUT"]}}, {"operation": {}}]}
    assert [field for field, _ in warnings(GET, loose)] == ["spec.rules[0]"]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (rule({"principals": ["a"], "notPrincipals": ["a", "b"]}), "spec.rules[0].from[0].source.notPrincipals"),
        (rule(None, {"methods": ["GET"], "notMethods": ["GET"]}), "spec.rules[0].to[0].operation.notMethods"),
    ],
)
def test_what_is_asked_for_and_forbidden(part, field):
    [(found, message)] = warnings(part)
    assert found == field
    assert message.startswith("never matches: ")


def test_a_part_that_is_left_is_enough():
    assert warnings(rule(None, {"methods": ["GET", "PUT"], "notMethods": ["GET"]})) == []


@pytest.mark.parametrize(
    ("rules", "nobody"),
    [
        ((rule({"principals": ["a"]}),), True),
        ((rule({"namespaces": ["a"]}), rule({"serviceAccounts": ["a"]})), True),
        ((rule(when=[{"key": "source.principal", "values": ["a"]}]),), True),
        ((rule(when=[{"key": "source.principal", "notValues": ["a"]}]),), False),
        ((rule({"principals": ["a"]}), GET), False),
        (({"from": [{"source": {"principals": ["a"]}}, {"source": {"ipBlocks": ["::1"]}}]},), False),
        ((), False),
    ],
)
def test_rules_that_only_a_certificate_satisfies(rules, nobody):
    assert admits_nobody_without_certificates(policy(*rules)) is nobody


def test_a_deny_admits():
    assert not admits_nobody_without_certificates(policy(rule({"principals": ["a"]}), action="DENY"))


POST = rule(None, {"methods": ["POST"]})


@given(st.lists(st.sampled_from([{}, GET, POST]), min_size=1, max_size=6))
def test_what_leaves_a_rule_nothing_to_decide_is_the_first_that_does(rules):
    expected = []
    for place, each in enumerate(rules):
        covering = (
            other
            for other, another in enumerate(rules)
            if (other < place and another == each) or (other != place and another == {} != each)
        )
        expected += [
            (f"spec.rules[{place}]", f"spec.rules[{other}]") for other in [next(covering, None)] if other is not None
        ]
    found = [(field, message.split()[2]) for field, message in warnings(*rules)]
    assert found == expected
