"""What a DestinationRule asks for in vain is named, wherever it stands; what acts is not."""

import pytest

from meshd.config.destination_rule import DestinationRule
from meshd.unserved_destinations import unserved_parts

BALANCER, TCP, HTTP = "loadBalancer", "connectionPool.tcp", "connectionPool.http"
IN_VAIN = [
    (BALANCER, {"simple": "PASSTHROUGH"}, "simple"),
    (BALANCER, {"localityLbSetting": {}}, "localityLbSetting"),
    (BALANCER, {"warmup": {"duration": "1s"}}, "warmup"),
    (BALANCER, {"warmupDurationSecs": "1s"}, "warmupDurationSecs"),
    (BALANCER, {"consistentHash": {"httpCookie": {"name": "a", "ttl": "0s"}}}, "consistentHash.httpCookie.ttl"),
    (
        BALANCER,
        {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 8}}},
        "consistentHash.maglev.tableSize",
    ),
    (TCP, {"tcpKeepalive": {}}, "tcpKeepalive"),
    (TCP, {"idleTimeout": "1s"}, "idleTimeout"),
    (HTTP, {"http2MaxRequests": 1}, "http2MaxRequests"),
    (HTTP, {"maxRequestsPerConnection": 1}, "maxRequestsPerConnection"),
    (HTTP, {"maxRetries": 1}, "maxRetries"),
    (HTTP, {"h2UpgradePolicy": "UPGRADE"}, "h2UpgradePolicy"),
    (HTTP, {"useClientProtocol": True}, "useClientProtocol"),
    (HTTP, {"maxConcurrentStreams": 1}, "maxConcurrentStreams"),
    (HTTP, {"http2KeepAlive": {}}, "http2KeepAlive"),
    ("tls", {"mode": "SIMPLE"}, "mode"),
    ("tls", {"mode": "MUTUAL", "clientCertificate": "a", "privateKey": "b"}, "mode"),
    ("tls", {"mode": "ISTIO_MUTUAL", "caCrl": "a"}, "caCrl"),
    ("tls", {"mode": "ISTIO_MUTUAL", "subjectAltNames": ["a.test"]}, "subjectAltNames"),
]
IN_USE = [
    (BALANCER, {"simple": "RANDOM", "localityLbSetting": {"enabled": False}}),
    (BALANCER, {"consistentHash": {"httpCookie": {"name": "a"}, "maglev": {"tableSize": 65537}}}),
    (TCP, {"maxConnections": 1, "connectTimeout": "1s", "maxConnectionDuration": "1s"}),
    (HTTP, {"http1MaxPendingRequests": 1, "idleTimeout": "1s", "h2UpgradePolicy": "DO_NOT_UPGRADE"}),
    ("outlierDetection", {"consecutive5xxErrors": 1, "outlierDetectionHttpErrorCodes": [429]}),
    ("tls", {"mode": "DISABLE", "subjectAltNames": ["a.test"]}),
    ("tls", {"mode": "ISTIO_MUTUAL", "sni": "a", "subjectAltNames": ["spiffe://td/a"]}),
]


def policy(place, given):
    for name in reversed(place.split(".")):
        given = {name: given}
    return given


def found(**spec):
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "r"},
        "spec": {"host": "a"} | spec,
    }
    parts = unserved_parts(DestinationRule.model_validate(document))
    return [".".join(map(str, at)) for at, _ in parts]


@pytest.mark.parametrize(("place", "given", "field"), IN_VAIN)
def test_what_no_cluster_can_do(place, given, field):
    asked, where = policy(place, given), f"{place}.{field}"
    assert found(trafficPolicy=asked) == [f"spec.trafficPolicy.{where}"]
    subset = {"name": "v1", "trafficPolicy": asked}
    assert found(subsets=[subset]) == [f"spec.subsets.0.trafficPolicy.{where}"]
    at_port = {"portLevelSettings": [{"port": {"number": 80}} | asked]}
    assert found(trafficPolicy=at_port) == [f"spec.trafficPolicy.portLevelSettings.0.{where}"]


def test_a_floor_of_retries():
    budget = {"retryBudget": {"percent": 20.0, "minRetryConcurrency": 3}}
    assert found(trafficPolicy=budget) == ["spec.trafficPolicy.retryBudget.minRetryConcurrency"]


@pytest.mark.parametrize(("place", "given"), IN_USE)
def test_what_acts(place, given):
    assert found(trafficPolicy=policy(place, given)) == []


def test_a_rule_of_subsets_alone():
    assert found(subsets=[{"name": "v1", "labels": {"a": "b"}}]) == []
