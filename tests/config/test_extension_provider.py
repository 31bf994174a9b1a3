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
        ("includeRequestBodyInCheck: {maxRequestBytes: 1}", "includeRequestBodyInCheck"),
        ("includeHeadersInCheck: [a]", "includeHeadersInCheck"),
    ],
)
def test_what_is_refused(more, field):
    assert fields(HTTP % more) == [AT + field]


def test_a_provider_is_of_one_kind_and_has_a_name_of_its_own():
    assert fields("{name: a}") == ["spec.extensionProviders[0].envoyExtAuthzHttp"]
    assert fields("{name: a, envoyExtAuthzGrpc: {}}") == ["spec.extensionProviders[0].envoyExtAuthzGrpc"]
    twice = ", ".join([HTTP % "", HTTP % ""])
    assert fields(twice) == ["spec.extensionProviders[1].name"]
