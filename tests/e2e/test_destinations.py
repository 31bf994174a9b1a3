"""DestinationRules on a running sidecar: versions as parts of a split, and one user at one endpoint."""

import http.client
import json

import pytest
from support.origin import Origin, ok
from support.processes import until

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews.test
  trafficPolicy: {loadBalancer: BALANCER}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: reviews}]
  rules:
  - matches: [{headers: [{name: x-version, value: v2}]}]
    backendRefs: [{group: meshd.dev, kind: Subset, name: reviews.v2, port: 80}]
  - backendRefs: [{group: meshd.dev, kind: Subset, name: reviews.v1, port: 80}]
"""


def naming(name):
    return Origin(lambda wire, _: wire.sock.sendall(ok(name.encode())))


def entry(mesh, *apps):
    """A service of apps, each with its version."""
    endpoints = [
        {"address": "127.0.0.1", "ports": {"http": app.port}, "labels": {"version": version}} for app, version in apps
    ]
    spec = {"hosts": ["reviews.test"], "resolution": "STATIC", "ports": [{"number": 80, "name": "http"}]}
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "reviews"},
        "spec": spec | {"endpoints": endpoints},
    }
    mesh.policy("entry", json.dumps(document))


@pytest.fixture
def asker():
    """Asks a sidecar for the service, over one connection each."""
    opened = []

    def asker(sidecar):
        host, _, port = sidecar.address("outbound-0").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        opened.append(connection)

        def ask(**headers):
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", "/", headers={"Host": "reviews.test"} | fields)
            return connection.getresponse().read().decode()

        return ask

    yield asker
    for connection in opened:
        connection.close()


@pytest.mark.slow
def test_versions_are_parts_of_a_service(mesh, asker):
    with naming("one") as one, naming("two") as two:
        entry(mesh, (one, "v1"), (two, "v2"))
        mesh.policy("rule", RULE.replace("BALANCER", "{simple: RANDOM}"))
        mesh.policy("route", ROUTE)
        ask = asker(mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}]))
        assert {ask() for _ in range(20)} == {"one"}
        assert {ask(x_version="v2") for _ in range(20)} == {"two"}
        entry(mesh, (one, "v2"), (two, "v1"))  # relabelled while it serves
        until(lambda: ask() == "two")
        assert ask(x_version="v2") == "one"


@pytest.mark.slow
def test_one_user_stays_at_one_endpoint(mesh, asker):
    with naming("one") as one, naming("two") as two, naming("three") as three:
        entry(mesh, *((app, "v1") for app in (one, two, three)))
        mesh.policy("rule", RULE.replace("BALANCER", "{consistentHash: {httpHeaderName: x-user}}"))
        ask = asker(mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}]))
        until(lambda: {ask(x_user=str(user)) for user in range(20)} == {"one", "two", "three"})
        places = {user: ask(x_user=str(user)) for user in range(20)}
        assert {user: ask(x_user=str(user)) for user in range(20)} == places
        assert {ask() for _ in range(40)} == {"one", "two", "three"}
        other = asker(mesh.run("other", outbound=[{"listen": "127.0.0.1:0"}]))
        until(lambda: {user: other(x_user=str(user)) for user in range(20)} == places)
