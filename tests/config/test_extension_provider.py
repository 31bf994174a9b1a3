"""Authorizers outside are described as in Istio's mesh configuration, and what is not served is said."""

import pytest
from support.documents import problems_of

from meshd.config.extension_provider import ExtensionProvider

PROXY = """apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: p}
spec:
  inbound: [{listen: "127.0.0.1:0", app: "127.0.0.1:1"}]
  extensionProviders: [%s]
"""
HTTP = "{name: a, envoyExtAuthzHttp: {service: s.test, port: 80, %s}}"
GRPC = "{name: a, envoyExtAuthzGrpc: {service: s.test, port: 80, %s}}"
AT = "spec.extensionProviders[0].envoyExtAuthzHttp."


def fields(providers):
    return [problem.field for problem in problems_of(PROXY % providers)]


def test_what_is_left_out():
    provider = {"name": "a", "envoyExtAuthzHttp": {"service": "ns/s.test", "port": 80}}
    http = ExtensionProvider.model_validate(provider).envoy_ext_authz_http
    assert (http.timeout, http.fail_open, http.status_on_error, http.path_prefix) == (5.0, False, "403", "")


@pytest.mark.parametrize(
    "more",
    [
        "timeout: 1s, pathPrefix: /check, failOpen: true, statusOnError: '503'",
        "includeRequestHeadersInCheck: [x-a, x-b-*, '*-c', '*']",
        "includeAdditionalHeadersInCheck: {x-a: 'some value'}",
        "includeRequestBodyInCheck: {maxRequestBytes: 1}",
        "includeRequestBodyInCheck: {maxRequestBytes: 16777216, allowPartialMessage: true, packAsBytes: true}",
    ],
)
def test_what_is_good(more):
    assert fields(HTTP % more) == []


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("pathPrefix: check", "pathPrefix"),
        ("statusOnError: '999'", "statusOnError"),
        ("statusOnError: '200'", "statusOnError"),
        ("timeout: 0s", "timeout"),
        ("includeRequestHeadersInCheck: ['a b']", "includeRequestHeadersInCheck[0]"),
        ("headersToUpstreamOnAllow: [x, 'a*b']", "headersToUpstreamOnAllow[1]"),
        ("headersToDownstreamOnDeny: ['']", "headersToDownstreamOnDeny[0]"),
        ("headersToDownstreamOnAllow: ['**']", "headersToDownstreamOnAllow[0]"),
        (r'includeAdditionalHeadersInCheck: {x-a: "a\r\nb: c"}', "includeAdditionalHeadersInCheck.x-a"),
        ("includeAdditionalHeadersInCheck: {'x*': a}", "includeAdditionalHeadersInCheck.x*"),
        ("includeRequestBodyInCheck: {maxRequestBytes: 0}", "includeRequestBodyInCheck.maxRequestBytes"),
        ("includeRequestBodyInCheck: {maxRequestBytes: 16777217}", "includeRequestBodyInCheck.maxRequestBytes"),
        ("includeRequestBodyInCheck: {}", "includeRequestBodyInCheck.maxRequestBytes"),
        ("clearRouteCache: true", "clearRouteCache"),
        ("includeHeadersInCheck: [a]", "includeHeadersInCheck"),
    ],
)
def test_what_is_refused(more, field):
    assert fields(HTTP % more) == [AT + field]


def test_one_that_speaks_grpc():
    more = "timeout: 1s, failOpen: true, statusOnError: '503', includeRequestBodyInCheck: {maxRequestBytes: 8}"
    assert fields(GRPC % more) == []
    at = "spec.extensionProviders[0].envoyExtAuthzGrpc."
    for wrong, field in (("pathPrefix: /a", "pathPrefix"), ("statusOnError: '99'", "statusOnError")):
        assert fields(GRPC % wrong) == [at + field]
    grpc = {"name": "a", "envoyExtAuthzGrpc": {"service": "s.test", "port": 80}}
    provider = ExtensionProvider.model_validate(grpc)
    assert provider.authorizer is provider.envoy_ext_authz_grpc


def test_a_provider_is_of_one_kind_and_has_a_name_of_its_own():
    assert fields("{name: a}") == ["spec.extensionProviders[0]"]
    both = "{name: a, envoyExtAuthzGrpc: {service: s.test, port: 80}, envoyExtAuthzHttp: {service: s.test, port: 80}}"
    assert fields(both) == ["spec.extensionProviders[0].envoyExtAuthzGrpc"]
    twice = ", ".join([HTTP % "", HTTP % ""])
    assert fields(twice) == ["spec.extensionProviders[1].name"]
