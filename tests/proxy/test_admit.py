"""What is decided about a request before anything is waited for: its route, and why it has no backend."""

import pytest
from support.compiled import found, service
from support.requests import exchange_of

from meshd.http.grpc import UNAVAILABLE
from meshd.http.render import render_reply
from meshd.proxy.admit import admit

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: web}], rules: [{backendRefs: [BACKENDS]}]}
"""
WEB, GONE = "{name: web, port: 80, weight: WEIGHT}", "{name: gone, port: 80, weight: WEIGHT}"


def asked(snapshot, authority="web.shop"):
    exchange = exchange_of(authority=authority, method="POST", headers=[("content-type", "application/grpc")])
    exchange.request_id = b"1"
    return exchange, *admit(exchange, snapshot.plans["outbound-0"])


@pytest.mark.parametrize(
    ("backends", "status", "details"),
    [
        ([], 500, "cluster_not_found"),
        ([(GONE, 1)], 500, "cluster_not_found"),  # every backend is invalid: the standard asks for 500
        ([(GONE, 0)], 500, "cluster_not_found"),
        ([(WEB, 0), (GONE, 1)], 500, "cluster_not_found"),
        ([(WEB, 0)], 503, "every_backend_has_weight_0"),
        ([(WEB, 0), (WEB, 0)], 503, "every_backend_has_weight_0"),
        ([(WEB, 0), (GONE, 0)], 503, "every_backend_has_weight_0"),
    ],
)
def test_no_valid_backend_is_500_and_a_drained_route_is_503(build, backends, status, details):
    listed = ", ".join(text.replace("WEIGHT", str(weight)) for text, weight in backends)
    exchange, reply, target, cluster = asked(build(service(), ROUTE.replace("BACKENDS", listed)))
    assert (reply.status, reply.details, target, cluster) == (status, details, None, None)
    assert exchange.route is not None
    head, _ = render_reply(reply, exchange.head, b"p", stranger=False)
    assert head.get(b"grpc-status") == b"%d" % UNAVAILABLE  # Gateway API, GRPCRoute: for either


def test_what_has_a_backend_goes_to_it(build):
    snapshot = build(service())
    exchange, reply, target, cluster = asked(snapshot)
    assert reply is None
    assert exchange.route is found(snapshot)
    assert cluster is snapshot.clusters[target.cluster]
    assert exchange.cluster == target.cluster


def test_what_no_route_takes_is_404_and_unimplemented_in_the_words_of_grpc(build):
    exchange, reply, *_ = asked(build(service()), "nobody.test")
    assert (reply.status, exchange.route) == (404, None)
    head, _ = render_reply(reply, exchange.head, b"p", stranger=False)
    assert head.get(b"grpc-status") == b"12"


def test_a_request_that_came_round_is_refused(build):
    exchange = exchange_of()
    assert admit(exchange, build(service()).plans["outbound-0"])[0].status == 508
