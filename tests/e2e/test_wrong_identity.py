"""Somebody of the mesh who answers in another's place: any certificate of it is not enough."""

import http.client
import json

import pytest
from support.origin import Origin

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: all, namespace: default}
    spec: {rules: [{}]}
"""
SERVICE = """
    apiVersion: v1
    kind: Service
    metadata: {name: NAME, namespace: default}
    spec: {ports: [{name: http, port: 80}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: NAME, namespace: default, labels: {kubernetes.io/service-name: NAME}}
    addressType: IPv4
    ports: [{name: http, port: PORT}]
    endpoints: [{addresses: [127.0.0.1]}]
"""
ON_PURPOSE = """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: open, namespace: default}
    spec: {targetRefs: [{name: open}], tls: {peerIdentity: trustDomain}}
"""


@pytest.fixture(scope="module")
def caller(shared_mesh):
    """A client's sidecar, whose services are all answered by `mallory`, who has a certificate of the mesh."""
    mesh = shared_mesh
    mesh.policy("allow", ALLOW)
    mesh.policy("on-purpose", ON_PURPOSE)
    with Origin() as origin:
        told = mesh.run("mallory", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        address = told.address("inbound-0")
        for name in ("orders", "mallory", "open"):
            mesh.policy(name, SERVICE.replace("NAME", name).replace("PORT", address.rpartition(":")[2]))
        mesh.entry("pinned.test", address, mesh=True, account="orders")
        mesh.entry("here.test", address, mesh=True)
        away = json.loads(mesh.entry("away.test", address, mesh=True).read_text())
        away["metadata"]["namespace"] = "elsewhere"
        mesh.policy("entry-away.test", json.dumps(away))
        sidecar = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        sidecar.origin = origin
        yield sidecar


def ask(caller, host):
    connection = http.client.HTTPConnection(caller.address("outbound-0"), timeout=20)
    connection.request("POST", "/", b"secret", {"host": host})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers.get("proxy-status", "")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("orders", "spiffe://mesh.test/ns/default/sa/orders"),
        ("pinned.test", "spiffe://mesh.test/ns/default/sa/orders"),
        ("away.test", "spiffe://mesh.test/ns/elsewhere/sa/*"),
    ],
)
def test_whoever_else_answers_is_refused_and_told_apart(caller, host, expected):
    caller.origin.take()
    status, told = ask(caller, host)
    assert status in (502, 503)
    assert "error=tls_certificate_error" in told
    assert f"the server is spiffe://mesh.test/ns/default/sa/mallory, expected {expected}" in told
    assert caller.origin.take() == []


@pytest.mark.parametrize("host", ["mallory", "open", "here.test"])
def test_who_it_should_be_and_who_may_on_purpose_answer(caller, host):
    assert ask(caller, host) == (200, "")
