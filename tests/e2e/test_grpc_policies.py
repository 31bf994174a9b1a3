"""What policies and telemetry make of gRPC, in a pair of sidecars between a real client and a real server of it."""

import json
import urllib.request

import grpc
import pytest
from support.collector import HttpCollector, attributes
from support.grpc_peer import Client, Typist, address_of, start_app
from support.processes import until

DOCUMENTS = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec:
      rules:
        - to: [{operation: {notPaths: ["/test.Echo/Secret"]}}]
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: retried, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: retried-test}]
      retry: {attempts: 2, "on": [unavailable], methods: [POST]}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: hasty, namespace: default}
    spec: {targetRefs: [{kind: ServiceEntry, name: hasty-test}], timeout: 300ms}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: FaultPolicy
    metadata: {name: faults, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: broken-test}]
      rules: [{abort: {status: 503}}]
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: RateLimitPolicy
    metadata: {name: limits, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: limited-test}]
      rules: [{requests: 1, per: hour}]
"""
HOSTS = ("echo", "retried", "hasty", "broken", "limited")
Status = grpc.StatusCode


@pytest.fixture(scope="module")
def pair(shared_mesh, tmp_path_factory):
    """The client's sidecar, with the collector that both sidecars tell and the folder of their access logs."""
    app, path = start_app(tmp_path_factory.mktemp("app"))
    collector = HttpCollector()

    def telemetry(name):
        log = {"path": str(shared_mesh.folder / f"{name}.access")}
        otlp = {"endpoint": collector.endpoint, "protocol": collector.protocol}
        return {"accessLog": log, "otlp": otlp, "istioMetrics": True}

    with app:
        shared_mesh.policy("documents", DOCUMENTS)
        inbound = [{"listen": "127.0.0.1:0", "app": address_of(path), "protocol": "grpc"}]
        server = shared_mesh.run("server", inbound=inbound, telemetry=telemetry("server"))
        for host in HOSTS:
            address = server.address("inbound-0")
            shared_mesh.entry(f"{host}.test", address, mesh=True, account="server", protocol="GRPC")
        client = shared_mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}], telemetry=telemetry("client"))
        client.collector, client.folder = collector, shared_mesh.folder
        yield client
    for sidecar in (client, server):
        assert "Traceback" not in sidecar.log
        sidecar.stop()
    collector.close()


def to(pair, host):
    return Client(pair.address("outbound-0"), f"{host}.test")


def logged(pair, side, path):
    """The lines of one sidecar's access log about calls of one method, once there are any."""

    def lines():
        text = (pair.folder / f"{side}.access").read_text()
        return [line for line in map(json.loads, text.splitlines()) if line["path"] == f"/test.Echo/{path}"]

    return until(lines, what=f"{side} logs {path}")


def time_left(client, **options):
    """Seconds until the deadline, as the server sees it."""
    return json.loads(client.unary("Fields", **options))["left"]


def test_the_server_hears_how_much_time_is_left(pair):
    with to(pair, "echo") as client:
        assert 0 < time_left(client, timeout=5) < 5
        assert 15 < time_left(client, timeout=60) < 61  # what is declared to be gRPC has no limit of ours
        assert time_left(client, timeout=None) > 1e9  # for ever
    with to(pair, "hasty") as client:
        assert 0 < time_left(client, timeout=60) < 0.3


def test_the_route_may_be_more_hasty_than_the_client(pair):
    with to(pair, "hasty") as client:
        error = client.status("Hang", b"hasty", timeout=None)
        assert error.code() is Status.DEADLINE_EXCEEDED
        limit = "0.3 s (spec.timeout of BackendPolicy/default/hasty), after 1 attempt"
        assert error.details() == f"upstream request timeout: {limit}"
        until(lambda: client.unary("State", b"hasty") == b"cancelled", what="the app hears of it")


def test_a_response_that_takes_too_long_ends_with_a_status(pair):
    with to(pair, "hasty") as client:
        answers = client.down("Wait", b"long", timeout=None)
        assert next(answers) == b"waiting"
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() is Status.DEADLINE_EXCEEDED
        assert caught.value.details() == "upstream_response_timeout"


def test_a_conversation_that_goes_on_has_no_deadline_of_the_routes(pair):
    with to(pair, "hasty") as client:
        typist = Typist()
        answers = client.both("Chat", typist)
        typist.say(b"1")
        assert next(answers) == b"re: 1"
        assert client.status("Hang").code() is Status.DEADLINE_EXCEEDED  # meanwhile more than 300 ms go by
        typist.say(b"2")
        assert next(answers) == b"re: 2"
        typist.stop()
        assert list(answers) == []


def test_what_is_unavailable_is_tried_again_where_a_policy_says_so(pair):
    with to(pair, "retried") as client:
        assert client.unary("Flaky", b"by policy") == b"3"
    line = logged(pair, "client", "Flaky")[0]
    assert (line["attempts"], line["grpc_status"], line["messages_sent"]) == (3, 0, 1)


def test_a_call_is_not_tried_again_unless_it_is_known_to_be_safe(pair):
    with to(pair, "echo") as client:
        assert client.status("Flaky", b"once").code() is Status.UNAVAILABLE
        assert client.unary("Flaky", b"once", metadata=(("idempotency-key", "7"),)) == b"3"


def test_an_injected_fault_is_a_status(pair):
    with to(pair, "broken") as client:
        assert client.status("Echo").code() is Status.UNAVAILABLE


def test_a_limit_is_a_status(pair):
    with to(pair, "limited") as client:
        assert client.unary("Echo", b"first") == b"first"
        assert client.status("Echo").code() is Status.RESOURCE_EXHAUSTED


def test_logs_and_spans_tell_of_the_call(pair):
    with to(pair, "echo") as client:
        assert client.up("Join", iter([b"a", b"b", b"c"])) == b"abc"
        assert client.status("Secret").code() is Status.PERMISSION_DENIED
    for side in ("client", "server"):
        (line,) = logged(pair, side, "Join")
        assert (line["response_code"], line["grpc_status"], line["protocol"]) == (200, 0, "HTTP/2")
        assert (line["messages_received"], line["messages_sent"]) == (3, 1)
        assert logged(pair, side, "Secret")[0]["grpc_status"] == 7

    names = {"test.Echo/Join": "OK", "test.Echo/Secret": "PERMISSION_DENIED"}

    def spans(_=None):
        found = [attributes(span) for span in pair.collector.spans]
        return [span for span in found if span.get("rpc.method") in names]

    pair.collector.wait_until(lambda _: len(spans()) == 7, 20)
    for span in spans():
        assert span["rpc.system.name"] == "grpc"
        assert span["rpc.response.status_code"] == names[span["rpc.method"]]


def test_metrics_count_calls_by_status_and_their_messages(pair):
    with to(pair, "echo") as client:
        assert len(list(client.down("Count", b"40"))) == 40

    def page():
        with urllib.request.urlopen(f"http://{pair.address('admin')}/metrics", timeout=10) as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith("istio_response_messages")]
        return [line for line in lines if 'grpc_response_status="0"' in line and float(line.split()[-1]) >= 40]

    assert until(page, what="the messages are counted")
