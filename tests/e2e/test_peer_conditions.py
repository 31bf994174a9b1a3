"""What policies may ask about the handshake between two sidecars: the name that was asked for, and whose peer it is."""

import contextlib
import http.client

import pytest
from support.origin import Origin, ok

ALLOW = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asked}
spec:
  rules:
  - to: [{operation: {paths: [/by-service]}}]
    when: [{key: connection.sni, values: [web.default.svc.cluster.local]}]
  - to: [{operation: {paths: [/by-entry]}}]
    when: [{key: connection.sni, values: ["*.entry.test"]}]
  - to: [{operation: {paths: [/by-domain]}}]
    when: [{key: source.trustDomain, values: [mesh.test]}]
  - to: [{operation: {paths: [/by-others]}}]
    when: [{key: source.trustDomain, notValues: ["mesh.*"]}]
  - to: [{operation: {paths: [/by-account]}}]
    when: [{key: source.serviceAccount, values: [client]}]
"""
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {meshd.dev/service-accounts: server}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: PORT}]
endpoints: [{addresses: [127.0.0.1]}]
"""


@pytest.mark.slow
def test_conditions_on_the_peer_hold_between_sidecars(mesh):
    with Origin(lambda wire, _: wire.sock.sendall(ok())) as app:
        mesh.policy("allow", ALLOW)
        server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": app.address}])
        address = server.address("inbound-0")
        mesh.policy("web", WEB.replace("PORT", address.rpartition(":")[2]))
        mesh.entry("web.entry.test", address, mesh=True, account="server")
        client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])

        def status(host, path):
            with contextlib.closing(http.client.HTTPConnection(client.address("outbound-0"), timeout=10)) as connection:
                connection.request("GET", path, headers={"host": host})
                response = connection.getresponse()
                response.read()
                return response.status

        paths = ("/by-service", "/by-entry", "/by-domain", "/by-others", "/by-account")
        found = {host: [status(host, path) for path in paths] for host in ("web", "web.entry.test")}
        assert found == {"web": [200, 403, 200, 403, 200], "web.entry.test": [403, 200, 200, 403, 200]}
