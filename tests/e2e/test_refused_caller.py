"""A sidecar that another does not let in: the caller is told why in reply and admin pages, and does not come again and
again; the one that refused tells who it was."""

import http.client
import json
import time
from types import SimpleNamespace

import pytest
from support.origin import Origin
from support.processes import until

from meshd.identity.ca import Authority, Order
from meshd.identity.spiffe import SpiffeId

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: all, namespace: default}
    spec: {rules: [{}]}
"""


def page(sidecar, path):
    connection = http.client.HTTPConnection(sidecar.address("admin"), timeout=20)
    connection.request("GET", path)
    response = connection.getresponse()
    told = response.status, response.read().decode()
    connection.close()
    return told


def ask(sidecar):
    connection = http.client.HTTPConnection(sidecar.address("outbound-0"), timeout=20)
    connection.request("POST", "/", b"once", {"host": "shop.test"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers.get("proxy-status", "")


def revoked(mesh, home):
    folder = mesh.identity("client")
    mesh.authority.revoke([mesh.authority.record(folder).serial], time.time())
    mesh.authority.publish(time.time())
    return {}


def expired(mesh, home):
    """Good when it starts, and soon no more."""
    mesh.identity("client", ttl=20.0)
    return {}


def stranger(mesh, home):
    """Of another authority; it trusts the mesh's as well."""
    folder = mesh.folder / "id-client"
    with Authority.create(home / "other", "mesh.test", time.time()) as other:
        other.issue(Order(SpiffeId.parse("spiffe://mesh.test/ns/default/sa/client"), folder), time.time())
    roots = folder / "ca.crt"
    roots.write_bytes(roots.read_bytes() + (mesh.identity("server") / "ca.crt").read_bytes())
    (folder / "crl.pem").unlink(missing_ok=True)  # it would speak of one of the two authorities only
    return {}


def plain(mesh, home):
    return {"mesh": False}


FAULTS = {
    "expired": (expired, "expired", "certificate_expired"),
    "revoked": (revoked, "revoked", "certificate_revoked"),
    "issuer-unknown": (stranger, "unknown", "unknown_ca"),
    "plaintext": (plain, "plaintext", "unexpected_message"),
}


CASES = [(name, protocol) for name in FAULTS for protocol in ("HTTP", "HTTP2")]


@pytest.fixture(params=CASES, ids="-".join)
def refused(request, mesh, tmp_path):
    """Two sidecars; the first is refused by the second."""
    name, protocol = request.param
    make, code, alert = FAULTS[name]
    mesh.policy("allow", ALLOW)
    mesh.identity("server")
    with Origin() as origin:
        options = make(mesh, tmp_path)
        server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        is_mesh = options.get("mesh", True)
        account = "server" if is_mesh else ""
        mesh.entry("shop.test", server.address("inbound-0"), mesh=is_mesh, account=account, protocol=protocol)
        client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        yield SimpleNamespace(
            name=name, server=server, client=client, origin=origin, code=code, alert=alert, mutual=is_mesh
        )


def last_failed_dial(client):
    """Of the only endpoint of shop.test; None for none yet."""
    told = [worker for worker in json.loads(page(client, "/clusters")[1]).values() if worker is not None]
    for worker in told:
        for name, cluster in worker["clusters"].items():
            if "shop.test" in name:
                return cluster["endpoints"][0]["last_failed_dial"]
    return None


def refusals(server):
    """How many connections the server counts as refused."""
    _, text = page(server, "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("meshd_connections_refused")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_a_caller_that_is_refused_is_told_and_backs_off(refused):
    status, told = until(lambda: (found := ask(refused.client))[1] and found, 60, what="a reply that says why")
    assert status in (502, 503)
    assert "error=tls_alert_received" in told
    assert f'alert-message="{refused.alert}"' in told or "next attempt in" in told
    assert refused.alert in told
    if refused.name in ("revoked", "expired"):
        assert "its own certificate" in told
        assert refused.name in told
        assert page(refused.client, "/ready")[0] == 503
    refused.origin.take()  # it was served while it was let in
    ask(refused.client)
    assert refused.origin.take() == []
    failed = until(lambda: last_failed_dial(refused.client), what="the failed dial in /clusters")
    assert failed["error"] == "tls_alert_received"
    assert refused.alert in failed["details"]
    until(lambda: refusals(refused.server) >= 2, what="refused connections that are counted")
    before = refusals(refused.server)
    time.sleep(2)  # a rate is measured over time
    assert refusals(refused.server) - before <= 8
    records = until(
        lambda: [line for line in page(refused.server, "/records")[1].split("},") if "tls_handshake_failed" in line],
        what="a record of the refusal",
    )
    assert any(refused.code in line for line in records)
    if refused.mutual:
        assert any("spiffe://mesh.test/ns/default/sa/client" in line for line in records)


@pytest.mark.parametrize("protocol", ["HTTP", "HTTP2"])
def test_a_caller_of_another_trust_domain_is_told_that_it_is_one(mesh, tmp_path, protocol):
    """Its root and the mesh's are trusted on both sides, so that it is the domains alone that keep them apart."""
    mesh.policy("allow", ALLOW)
    folder = mesh.folder / "id-client"
    with Authority.create(tmp_path / "other", "other.test", time.time()) as other:
        other.issue(Order(SpiffeId.parse("spiffe://other.test/ns/default/sa/client"), folder), time.time())
    roots = [folder / "ca.crt", mesh.identity("server") / "ca.crt"]
    both = b"".join(root.read_bytes() for root in roots)
    for root in roots:
        root.write_bytes(both)
        root.with_name("crl.pem").unlink(missing_ok=True)
    with Origin() as origin:
        server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        mesh.entry("shop.test", server.address("inbound-0"), mesh=True, account="server", protocol=protocol)
        identity = {"trustDomain": "other.test", "serviceAccount": "client", "certificates": str(folder)}
        client = mesh.run("client", identity=identity, outbound=[{"listen": "127.0.0.1:0"}])
        status, told = until(lambda: (found := ask(client))[1] and found, 60, what="a reply that says why")
        assert status in (502, 503)
        assert "error=tls_certificate_error" in told
        assert "is spiffe://mesh.test/" in told
        failed = until(lambda: last_failed_dial(client), what="the failed dial in /clusters")
        assert failed["error"] == "tls_certificate_error"
        assert "expected spiffe://other.test/" in failed["details"]
        assert origin.take() == []
