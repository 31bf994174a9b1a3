"""AuthorizationPolicy: what a policy may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import document, problems_of, text_of

from meshd.config.authorization import AuthorizationPolicy, template_fault

VERSION = "security.istio.io/v1"


def read(spec):
    policy = document(text_of("AuthorizationPolicy", VERSION, spec)).model
    assert isinstance(policy, AuthorizationPolicy)
    return policy


def fields(spec):
    return [
        problem.field.removeprefix("spec.") for problem in problems_of(text_of("AuthorizationPolicy", VERSION, spec))
    ]


def test_no_rules_and_a_rule_without_conditions_differ():
    assert read("action: ALLOW").spec.rules == ()
    assert len(read("rules: [{}]").spec.rules) == 1
    assert (
        document("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n").model.spec.rules
        == ()
    )


def test_dry_run_is_an_annotation():
    text = text_of("AuthorizationPolicy", VERSION, "rules: [{}]")
    assert not document(text).model.is_dry_run
    text = text.replace("namespace: ns}", "namespace: ns, annotations: {istio.io/dry-run: 'true'}}")
    assert document(text).model.is_dry_run


@pytest.mark.parametrize(
    "key",
    [
        *("source.ip", "remote.ip", "source.namespace", "source.principal", "request.auth.principal", "destination.ip"),
        *("request.auth.audiences", "request.auth.presenter", "connection.sni", "request.headers[X-a]"),
        *("request.headers[:method]", "request.auth.claims[iss]", "request.auth.claims[a][b]"),
        *("source.trustDomain", "source.serviceAccount", "experimental.envoy.filters.a.b[c]"),
    ],
)
def test_attributes(key):
    value = "10.0.0.0/8" if key.endswith(".ip") else "a"
    assert fields(f"rules: [{{when: [{{key: '{key}', values: ['{value}']}}]}}]") == []


@pytest.mark.parametrize(
    "key", ["source", "request.headers", "request.headers[]", "request.auth.claims", "Source.ip", ""]
)
def test_what_is_no_attribute(key):
    assert fields(f"rules: [{{when: [{{key: '{key}', values: [a]}}]}}]") == ["rules[0].when[0].key"]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("rules: [{when: [{key: source.ip}]}]", ["rules[0].when[0].values"]),
        ("rules: [{when: [{key: source.ip, values: [a]}]}]", ["rules[0].when[0].values[0]"]),
        ("rules: [{when: [{key: destination.port, notValues: ['0']}]}]", ["rules[0].when[0].notValues[0]"]),
        ("rules: [{from: [{}]}]", ["rules[0].from[0].source"]),
        ("rules: [{to: [{}]}]", ["rules[0].to[0].operation"]),
        (
            "rules: [{to: [{operation: {ports: ['80', '65536', ' 80']}}]}]",
            [f"rules[0].to[0].operation.ports[{n}]" for n in (1, 2)],
        ),
        ("rules: [{to: [{operation: {notPaths: ['/{a}']}}]}]", ["rules[0].to[0].operation.notPaths[0]"]),
        ("rules: [{from: [{source: {notRemoteIpBlocks: [a]}}]}]", ["rules[0].from[0].source.notRemoteIpBlocks[0]"]),
        ("rules: [{from: [{source: {namespaces: ['a', '']}}]}]", ["rules[0].from[0].source.namespaces[1]"]),
        (
            "rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]",
            ["rules[0].from[0].source.namespaces"],
        ),
        ("action: CUSTOM\nrules: [{}]", ["provider"]),
        ("action: CUSTOM\nprovider: {name: a}", ["rules"]),
        ("provider: {name: a}\nrules: [{}]", ["provider"]),
        ("action: DENY\nrules: []", ["rules"]),
        ("targetRef: {kind: Service, name: a, namespace: b}\nrules: [{}]", ["targetRef.namespace"]),
    ],
)
def test_what_is_refused(spec, found):
    assert fields(spec) == found


@pytest.mark.parametrize("path", ["/a", "/a*", "*", "/{*}", "/{*}/a/{**}", "/{**}/a", "{*}", "/a/{**}/"])
def test_templates(path):
    assert template_fault(path) == ""


@pytest.mark.parametrize(
    "path", ["/{**}/{*}", "/{**}/{**}", "/a{*}", "/{a}", "/{", "/}", "/{*}/a*", "/{*}/é", "/{*}/a b"]
)
def test_what_is_no_template(path):
    assert template_fault(path)


@given(st.text("/{*}ab", max_size=12))
def test_paths_without_braces_are_not_templates(path):
    if "{" not in path and "}" not in path:
        assert template_fault(path) == ""
    elif not template_fault(path):
        assert path.count("{**}") <= 1
