"""FaultPolicy: delays and aborts."""

import pytest
from support.documents import document, problems_of, text_of

VERSION = "meshd.dev/v1alpha1"


def test_a_rule_with_all_of_it():
    actions = "delay: {fixed: 2s}, abort: {grpcStatus: 14, percentage: 0.5}"
    rules = f"rules: [{{match: {{path: {{value: /a}}, method: GET}}, header: x-fault, {actions}}}]"
    [rule] = document(text_of("FaultPolicy", VERSION, rules)).model.spec.rules
    assert (rule.delay.fixed, rule.delay.percentage, rule.abort.grpc_status, rule.abort.percentage) == (2, 100, 14, 0.5)


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("{}", [""]),
        ("{delay: {}}", [".delay.fixed"]),
        ("{delay: {fixed: 0s}}", [".delay.fixed"]),
        ("{abort: {}}", [".abort"]),
        ("{abort: {status: 503, grpcStatus: 14}}", [".abort.grpcStatus"]),
        ("{abort: {status: 99}}", [".abort.status"]),
        ("{abort: {grpcStatus: 17}}", [".abort.grpcStatus"]),
        ("{abort: {status: 503, percentage: 101}}", [".abort.percentage"]),
        ("{match: {path: {value: a}}, delay: {fixed: 1s}}", [".match.path.value"]),
    ],
)
def test_what_is_refused(rule, found):
    problems = problems_of(text_of("FaultPolicy", VERSION, f"rules: [{rule}]"))
    assert [problem.field.removeprefix("spec.rules[0]") for problem in problems] == found


def test_rules_are_told_apart():
    rules = "rules: [{name: a, delay: {fixed: 1s}}, {name: a, delay: {fixed: 1s}}]"
    assert [problem.field for problem in problems_of(text_of("FaultPolicy", VERSION, rules))] == ["spec.rules[1].name"]
