"""`HTTPRoute.retry` between two sidecars: which answers of the app are asked for again, and how often."""

import time

import pytest
from support.origin import Reset

POLICIES = {
    "route.test": """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: route, namespace: default}
    spec:
      parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: route-test}]
      rules:
        - matches: [{path: {value: /once}}]
          retry: {attempts: 0, codes: [500, 503]}
          backendRefs: &backend [{group: networking.istio.io, kind: ServiceEntry, name: route-test, port: 80}]
        - matches: [{path: {value: /500}}]
          retry: {attempts: 2, codes: [500], backoff: 1ms}
          backendRefs: *backend
        - matches: [{path: {value: /slow}}]
          retry: {attempts: 2, codes: [503], backoff: 200ms}
          backendRefs: *backend
"""
}


def failing(status):
    def behave(wire, request):
        if status is None:
            raise Reset
        wire.sock.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

    return behave


@pytest.mark.parametrize("status", [500, 502, 503, 504, None])
def test_no_attempts_is_one_request_at_the_app(pair, status):
    pair.origin.behave = failing(status)
    for _ in range(5):
        assert pair.call("route.test", "/once").status == (status or 502)
    assert len(pair.origin.take()) == 5


@pytest.mark.parametrize(("status", "asked"), [(500, 3), (502, 1), (503, 1), (504, 1), (None, 3)])
def test_only_the_codes_of_the_rule_and_broken_connections_are_asked_for_again(pair, status, asked):
    pair.origin.behave = failing(status)
    assert pair.call("route.test", "/500").status == (status or 502)
    assert len(pair.origin.take()) == asked


def test_no_attempt_comes_sooner_than_the_backoff_after_the_one_before(pair):
    pair.origin.behave = failing(503)
    began = time.perf_counter()
    assert pair.call("route.test", "/slow").status == 503
    assert time.perf_counter() - began >= 0.4
    assert len(pair.origin.take()) == 3
