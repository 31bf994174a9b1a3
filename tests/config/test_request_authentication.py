"""RequestAuthentication: issuers and keys."""

import pytest
from support.documents import document, problems_of, text_of

VERSION = "security.istio.io/v1"


def text(rule):
    return text_of("RequestAuthentication", VERSION, f"jwtRules: [{{{rule}}}]")


def fields(rule):
    return [problem.field.removeprefix("spec.jwtRules[0].") for problem in problems_of(text(rule))]


def test_both_spellings_of_the_uri():
    for name in ("jwksUri", "jwks_uri"):
        rule = document(text(f"issuer: a, {name}: 'https://a.b/keys'")).model.spec.jwt_rules[0]
        assert rule.keys_uri == "https://a.b/keys"
    assert document(text("issuer: a")).model.spec.jwt_rules[0].keys_uri == ""


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("jwks: '{\"keys\": []}'", ["issuer"]),
        ("issuer: ''", ["issuer"]),
        ("issuer: a, jwks: '{'", ["jwks"]),
        ("issuer: a, jwks: '[]'", ["jwks"]),
        ("issuer: a, jwksUri: 'ftp://a'", ["jwksUri"]),
        ("issuer: a, jwksUri: 'https://['", ["jwksUri"]),
        ("issuer: a, jwksUri: 'https:///a'", ["jwksUri"]),
        ("issuer: a, jwksUri: 'http://a', jwks_uri: 'http://a'", ["jwks_uri"]),
        ("issuer: a, timeout: 0s", ["timeout"]),
        ("issuer: a, outputClaimToHeaders: [{header: 'a b', claim: c}]", ["outputClaimToHeaders[0].header"]),
        ("issuer: a, presence: required", ["presence"]),
        ("issuer: a, outputPayloadToHeader: 'a b'", ["outputPayloadToHeader"]),
        ("issuer: a, fromHeaders: [{prefix: a}]", ["fromHeaders[0].name"]),
    ],
)
def test_what_is_refused(rule, found):
    assert fields(rule) == found


def test_one_way_to_attach():
    spec = "selector: {}\ntargetRef: {kind: Service, name: a}"
    assert [problem.field for problem in problems_of(text_of("RequestAuthentication", VERSION, spec))] == [
        "spec.targetRef"
    ]
