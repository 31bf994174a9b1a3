"""What is read but not acted on is refused, with its place."""

import pytest
from support.documents import document, text_of

from meshd.config.documents import Documents
from meshd.config.errors import ConfigError
from meshd.unserved import refuse_unserved

GATEWAY, SECURITY, OURS = "gateway.networking.k8s.io/v1", "security.istio.io/v1", "meshd.dev/v1alpha1"
KINDS = {
    "tcp_routes": ("TCPRoute", GATEWAY, "rules: [{backendRefs: [{name: a, port: 1}]}]"),
    "tls_routes": ("TLSRoute", GATEWAY, "hostnames: [a.test]\nrules: [{backendRefs: [{name: a, port: 1}]}]"),
}


def problems(**documents):
    """Fields and messages of what is refused."""
    try:
        refuse_unserved(Documents(**{kind: (document(text),) for kind, text in documents.items()}))
    except ConfigError as error:
        return [(each.field, each.expected) for each in error.problems]
    return []


def route(rule):
    return text_of("HTTPRoute", GATEWAY, f"rules:\n- {rule}")


def authorization(spec):
    return text_of("AuthorizationPolicy", SECURITY, spec)


def test_nothing_is_nothing():
    assert problems() == []


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_nothing_reads_yet(kind):
    assert problems(**{kind: text_of(*KINDS[kind])}) == [("", f"kind {KINDS[kind][0]} is not supported yet")]


@pytest.mark.parametrize(("name", "refused"), [("x-session", False), ("Connection", True)])
def test_sessions_by_fields_of_the_connection(name, refused):
    found = problems(http_routes=route(f"sessionPersistence: {{type: Header, header: {{name: {name}}}}}"))
    assert [each for each, _ in found] == (["spec.rules[0].sessionPersistence.header.name"] if refused else [])


@pytest.mark.parametrize("kind", ["Request", "Response"])
@pytest.mark.parametrize("edit", ["set: [{name: NAME, value: a}]", "add: [{name: NAME, value: a}]", "remove: [NAME]"])
@pytest.mark.parametrize(("name", "refused"), [("Connection", True), ("content-length", True), ("x-a", False)])
def test_edits_of_fields_of_the_connection(kind, edit, name, refused):
    field = f"{kind.lower()}HeaderModifier"
    step = f"filters: [{{type: {kind}HeaderModifier, {field}: {{{edit.replace('NAME', name)}}}}}]"
    found = problems(http_routes=route(step))
    assert [each for each, _ in found] == ([f"spec.rules[0].filters[0].{field}"] if refused else [])


FIELDS = [("te", False), ("Content-Length", False), ("host", True), ("Upgrade", True), ("x-a", True)]


@pytest.mark.parametrize(("name", "seen"), FIELDS)
def test_matches_on_fields_of_the_connection(name, seen):
    found = problems(http_routes=route(f"matches: [{{headers: [{{name: {name}, value: a}}]}}]"))
    assert [each for each, _ in found] == ([] if seen else ["spec.rules[0].matches[0].headers[0].name"])


@pytest.mark.parametrize(("name", "seen"), [*FIELDS, (":path", True)])
def test_conditions_on_fields_of_the_connection(name, seen):
    spec = f"action: DENY\nrules: [{{when: [{{key: 'request.headers[{name}]', values: [a]}}]}}]"
    found = problems(authorization_policies=authorization(spec))
    assert [each for each, _ in found] == ([] if seen else ["spec.rules[0].when[0].key"])


@pytest.mark.parametrize(("name", "seen"), FIELDS)
def test_matches_of_policies_on_fields_of_the_connection(name, seen):
    rule = f"{{header: {name}, match: {{headers: [{{name: {name}, value: a}}]}}, abort: {{status: 503}}}}"
    found = problems(fault_policies=text_of("FaultPolicy", OURS, f"rules: [{rule}]"))
    places = ["spec.rules[0].header", "spec.rules[0].match.headers[0].name"]
    assert [each for each, _ in found] == ([] if seen else places)
    limit = f"{{key: 'header:{name}', match: {{headers: [{{name: {name}, value: a}}]}}, requests: 1}}"
    found = problems(rate_limit_policies=text_of("RateLimitPolicy", OURS, f"rules: [{limit}]"))
    places = ["spec.rules[0].key", "spec.rules[0].match.headers[0].name"]
    assert [each for each, _ in found] == ([] if seen else places)


def test_answers_with_fields_of_the_connection():
    rule = "{respond: {status: 200, headers: [{name: x-a, value: a}, {name: Content-Length, value: a}]}}"
    found = problems(request_policies=text_of("RequestPolicy", OURS, f"rules: [{rule}]"))
    assert [each for each, _ in found] == ["spec.rules[0].respond.headers"]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("", ""),
        ('jwks: \'{"keys": [{"kty": "oct", "k": "AA"}]}\'', ".jwks"),
        ("jwksUri: 'https://a.test/', fromHeaders: [{name: x-a}, {name: TE}]", ".fromHeaders[1].name"),
        ("jwksUri: 'https://a.test/', outputPayloadToHeader: Host", ".outputPayloadToHeader"),
        (
            "jwksUri: 'https://a.test/', outputClaimToHeaders: [{header: te, claim: a}]",
            ".outputClaimToHeaders[0].header",
        ),
    ],
)
def test_parts_of_tokens(part, field):
    text = text_of("RequestAuthentication", SECURITY, f"jwtRules: [{{issuer: a, {part}}}]")
    assert [each for each, _ in problems(request_authentications=text)] == [f"spec.jwtRules[0]{field}"]


def test_tokens_with_keys_are_served():
    text = text_of("RequestAuthentication", SECURITY, "jwtRules: [{issuer: a, jwksUri: 'https://a.test/'}]")
    assert problems(request_authentications=text) == []


def test_parts_of_destinations():
    spec = "host: a\ntrafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}"
    ((field, expected),) = problems(destination_rules=text_of("DestinationRule", "networking.istio.io/v1", spec))
    assert field == "spec.trafficPolicy.loadBalancer.simple"
    assert expected.endswith("is not supported yet")


def test_parts_of_authorization():
    spec = """
action: CUSTOM
provider: {name: a}
rules:
- when: [{key: "experimental.envoy.filters.a.b[c]", values: [x]}, {key: source.ip, values: [10.0.0.1]}]
"""
    found = problems(authorization_policies=authorization(spec))
    assert [field for field, _ in found] == ["spec.rules[0].when[0].key"]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("healthCheck: {tcp: {}}", "spec.healthCheck"),
        ("socket: {noDelay: false}", "spec.socket.noDelay"),
        ("socket: {quickAck: false}", ""),
        ("tls: {earlyData: true}", "spec.tls.earlyData"),
        ("retry: {perTryIdleTimeout: 1s}", ""),
        ("tls: {resumption: true}", ""),
        ("retry: {perTryTimeout: 1s}", ""),
    ],
)
def test_parts_of_the_way_to_a_backend(part, field):
    found = problems(backend_policies=text_of("BackendPolicy", OURS, f"targetRefs: [{{name: a}}]\n{part}"))
    assert [each for each, _ in found] == ([field] if field else [])


def test_every_problem_says_where_it_stands():
    text = route("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [te]}}]")
    with pytest.raises(ConfigError) as caught:
        refuse_unserved(Documents(http_routes=(document(text),)))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.document) == ("f.yaml", 6, "HTTPRoute ns/name")
