"""Balancing, pools, ejection and TLS of a destination."""

import pytest
from support.documents import document, problems_of, text_of


def text(policy):
    return text_of("DestinationRule", "networking.istio.io/v1", f"host: echo\ntrafficPolicy: {{{policy}}}")


def fields(policy):
    return [problem.field.removeprefix("spec.trafficPolicy.") for problem in problems_of(text(policy))]


def policy(written):
    return document(text(written)).model.spec.traffic_policy


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("loadBalancer: {simple: ROUND_ROBIN}", []),
        ("loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}", ["loadBalancer.consistentHash"]),
        ("loadBalancer: {consistentHash: {}}", ["loadBalancer.consistentHash"]),
        (
            "loadBalancer: {consistentHash: {httpHeaderName: a, useSourceIp: true}}",
            ["loadBalancer.consistentHash.useSourceIp"],
        ),
        (
            "loadBalancer: {consistentHash: {httpHeaderName: a, ringHash: {}, maglev: {}}}",
            ["loadBalancer.consistentHash.maglev"],
        ),
        ("loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 1s}", ["loadBalancer.warmupDurationSecs"]),
        ("loadBalancer: {backendUtilization: {}}", ["loadBalancer.backendUtilization"]),
        (
            "loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 60}}]}}",
            ["loadBalancer.localityLbSetting.distribute[0].to"],
        ),
        (
            "loadBalancer: {localityLbSetting: {distribute: [{to: {b: 100}}], failover: [{}]}}",
            ["loadBalancer.localityLbSetting.distribute"],
        ),
        ("connectionPool: {tcp: {connectTimeout: 0s}}", ["connectionPool.tcp.connectTimeout"]),
        ("connectionPool: {tcp: {idleTimeout: 0s, maxConnections: 0}}", []),
        ("connectionPool: {http: {maxRetries: -1}}", ["connectionPool.http.maxRetries"]),
        ("outlierDetection: {maxEjectionPercent: 101}", ["outlierDetection.maxEjectionPercent"]),
        ("outlierDetection: {consecutive5xxErrors: null, consecutiveGatewayErrors: 3}", []),
        ("outlierDetection: {consecutiveErrors: 3}", ["outlierDetection.consecutiveErrors"]),
        ("outlierDetection: {interval: null}", ["outlierDetection.interval"]),
        ("tls: {mode: MUTUAL, clientCertificate: a}", ["tls.privateKey"]),
        ("tls: {mode: SIMPLE, privateKey: a}", ["tls.privateKey"]),
        ("tls: {mode: ISTIO_MUTUAL, caCertificates: a}", ["tls.caCertificates"]),
        *(
            (f"tls: {{mode: ISTIO_MUTUAL, sni: '{name}'}}", ["tls.sni"])
            for name in ("10.0.0.1", "::1", "a.", "a..b", "*.b")
        ),
        (f"tls: {{mode: ISTIO_MUTUAL, sni: {'a' * 63}.test}}", []),
        (f"tls: {{mode: ISTIO_MUTUAL, sni: {'a' * 64}.test}}", ["tls.sni"]),
        ("tls: {mode: SIMPLE, credentialName: a}", ["tls.credentialName"]),
        ("tls: {mode: SIMPLE, insecureSkipVerify: false}", []),
        ("tunnel: {targetHost: a, targetPort: 1}", ["tunnel"]),
        ("proxyProtocol: {}", ["proxyProtocol"]),
        ("retryBudget: {percent: 101}", ["retryBudget.percent"]),
        ("portLevelSettings: [{}]", ["portLevelSettings[0].port"]),
        ("portLevelSettings: [{port: {number: 1}}, {port: {number: 1}}]", ["portLevelSettings[1].port.number"]),
        (
            "portLevelSettings: [{port: {number: 1}, tls: {mode: MUTUAL}}]",
            [f"portLevelSettings[0].tls.{name}" for name in ("clientCertificate", "privateKey")],
        ),
    ],
)
def test_policies(written, found):
    assert fields(written) == found


def test_old_and_new_spellings_mean_the_same():
    for written in ("warmup: {duration: 90s}", "warmupDurationSecs: 90s"):
        assert policy(f"loadBalancer: {{{written}}}").load_balancer.warmup_time == 90
    assert policy("loadBalancer: {}").load_balancer.warmup_time == 0
    for written, size in (("ringHash: {minimumRingSize: 7}", 7), ("minimumRingSize: 7", 7), ("maglev: {}", 1024)):
        found = policy(f"loadBalancer: {{consistentHash: {{useSourceIp: true, {written}}}}}")
        assert found.load_balancer.consistent_hash.ring_size == size
