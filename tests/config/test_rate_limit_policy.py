"""RateLimitPolicy: rates and keys."""

import pytest
from support.documents import document, problems_of, text_of

VERSION = "meshd.dev/v1alpha1"


def read(rules):
    return document(text_of("RateLimitPolicy", VERSION, f"rules: [{rules}]")).model.spec.rules


def fields(rules):
    return [
        problem.field.removeprefix("spec.")
        for problem in problems_of(text_of("RateLimitPolicy", VERSION, f"rules: [{rules}]"))
    ]


@pytest.mark.parametrize(("per", "rate"), [("second", 60), ("minute", 1), ("hour", 1 / 60)])
def test_rates(per, rate):
    assert read(f"{{requests: 60, per: {per}}}")[0].rate == rate


def test_defaults():
    [rule] = read("{requests: 5}")
    assert (rule.per, rule.burst, rule.key, rule.header, rule.match) == ("second", None, "none", "", None)


def test_keys():
    assert read("{requests: 5, key: identity}")[0].header == ""
    assert read("{requests: 5, key: 'header:X-User'}")[0].header == "x-user"


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ("", ["rules"]),
        ("{}", ["rules[0].requests"]),
        ("{requests: 0}", ["rules[0].requests"]),
        ("{requests: 1, burst: 0}", ["rules[0].burst"]),
        ("{requests: 1, key: 'header:'}", ["rules[0].key"]),
        ("{requests: 1, per: day}", ["rules[0].per"]),
        ("{requests: 1, name: a}, {requests: 1}, {requests: 1, name: a}", ["rules[2].name"]),
    ],
)
def test_what_is_refused(rules, found):
    assert fields(rules) == found
