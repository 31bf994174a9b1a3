"""RequestPolicy: sizes and answers."""

import pytest
from support.documents import document, problems_of, text_of

VERSION = "meshd.dev/v1alpha1"


def test_rules_with_all_of_it():
    sizes = "{name: small, match: {method: POST}, maxRequestBody: 64Ki, maxResponseBody: 0}"
    answer = "{respond: {status: 200, body: hi, contentType: text/html, headers: [{name: a, value: b}]}}"
    first, second = document(text_of("RequestPolicy", VERSION, f"rules: [{sizes}, {answer}]")).model.spec.rules
    assert (first.name, first.max_request_body, first.max_response_body, first.respond) == ("small", 65536, 0, None)
    assert (second.respond.status, second.respond.body, second.respond.content_type) == (200, "hi", "text/html")


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("{}", [""]),
        ("{maxRequestBody: many}", [".maxRequestBody"]),
        ("{maxRequestBody: -1}", [".maxRequestBody"]),
        ("{respond: {}}", [".respond.status"]),
        ("{respond: {status: 101}}", [".respond.status"]),
        ("{respond: {status: 204, body: a}}", [".respond.body"]),
        ("{respond: {status: 200}, maxResponseBody: 1}", [".respond"]),
        ("{respond: {status: 200, headers: [{name: a b, value: b}]}}", [".respond.headers[0].name"]),
    ],
)
def test_what_is_refused(rule, found):
    problems = problems_of(text_of("RequestPolicy", VERSION, f"rules: [{rule}]"))
    assert [problem.field.removeprefix("spec.rules[0]") for problem in problems] == found


def test_rules_are_told_apart():
    rules = "rules: [{name: a, maxRequestBody: 1}, {name: a, maxRequestBody: 1}]"
    problems = problems_of(text_of("RequestPolicy", VERSION, rules))
    assert [problem.field for problem in problems] == ["spec.rules[1].name"]
