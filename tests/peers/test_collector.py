"""Traces, metrics and logs of a pair of sidecars as a real OpenTelemetry Collector wrote them down."""

import http.client
import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.conftest import Mesh
from support.conventions import attributes as of_conventions
from support.conventions import metrics as metrics_of_conventions
from support.conventions import wrong
from support.origin import Hangup, Origin, ok
from support.otelcol import Certificates, Otelcol, attributes, otelcol
from support.processes import Sidecar, until

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec: {rules: [{to: [{operation: {notPaths: ["/secret"]}}]}]}
"""
POD = {"POD_NAME": "reviews-7", "POD_UID": "1-2-3", "POD_NAMESPACE": "shop", "NODE_NAME": "n1"}
OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "1000"}
WAYS = {
    "http": ("http/protobuf", {}, False),
    "http-gzip-tls": ("http/protobuf", {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, True),
    "grpc": ("grpc", {}, False),
    "grpc-gzip-tls": ("grpc", {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, True),
}
DEPLOY = Path(__file__).parents[2] / "deploy"


class Breaks:
    """Answers, but for the first request to `/again`."""

    def __init__(self):
        self.broken = False

    def __call__(self, wire, request):
        if request.target == "/again" and not self.broken:
            self.broken = True
            raise Hangup
        wire.sock.sendall(ok(b"hello"))


class Pair:
    """Two sidecars that tell of each request to one collector."""

    def __init__(self, folder, collector, way, env):
        self.mesh = Mesh(folder)
        self.mesh.policy("allow", ALLOW)
        self.app = Origin(Breaks())
        self.app.__enter__()
        self.collector = collector
        otlp = {"endpoint": collector.endpoint(way), "protocol": way, "logs": True}
        self.env, self.telemetry = env, {"otlp": otlp, "accessLog": None}
        self.server = self.run("server", inbound=[{"listen": "127.0.0.1:0", "app": self.app.address}])
        self.mesh.entry("reviews.test", self.server.address("inbound-0"), mesh=True, account="server")
        self.client = self.run("client", outbound=[{"listen": "127.0.0.1:0"}])

    def run(self, name, **spec):
        sidecar = Sidecar(self.mesh.document(name, telemetry=self.telemetry, **spec), env=self.env)
        self.mesh.sidecars.append(sidecar)
        return sidecar.wait_ready(60)

    def ask(self, path, method="GET"):
        connection = http.client.HTTPConnection(self.client.address("outbound-0"), timeout=20)
        try:
            connection.request(method, path, headers={"host": "reviews.test", "user-agent": "test/1"})
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        return response.status

    def stats(self, sidecar, name):
        connection = http.client.HTTPConnection(sidecar.address("admin"), timeout=20)
        try:
            connection.request("GET", f"/stats?prefix={name}")
            counters = json.loads(connection.getresponse().read())["counters"]
        finally:
            connection.close()
        return sum(each["value"] for each in counters.get(name, ()))

    def stop(self):
        for sidecar in (self.client, self.server):
            assert sidecar.stop(30) == 0, sidecar.log

    def close(self):
        self.mesh.close()
        self.app.__exit__(None, None, None)


@pytest.fixture(scope="module", params=WAYS)
def told(request, tmp_path_factory):
    """The collector, once both sidecars have told all they had to tell and ended."""
    otelcol()
    way, env, secure = WAYS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    certificates = Certificates.make(folder) if secure else None
    if certificates is not None:
        env = {**env, "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificates.certificate)}
    collector = Otelcol(folder, certificates).start()
    pair = Pair(folder, collector, way, {**env, **POD, **OFTEN})
    try:
        assert [pair.ask(path) for path in ("/reviews/7?page=2", "/secret", "/again")] == [200, 403, 200]
        assert pair.ask("/reviews/8", "BREW") == 200
        # The exporter is loaded after the sidecar is ready: one that ends at once would have nobody to tell.
        until(lambda: len(collector.spans()) >= 14 and len(collector.logs()) >= 9, 60, "spans and logs")
        until(lambda: "http.client.open_connections" in {each["name"] for each in collector.metrics()}, 60, "levels")
        pair.stop()  # which tells the last metrics
        until(lambda: {each.service for each in collector.metrics()} == {"client", "server"}, 60, "metrics")
    finally:
        pair.close()
        collector.stop()
    return collector


def one(told, service, kind, path):
    """The spans of one side and kind whose exchange was about `path`, in the order they began."""
    traces = {span["traceId"] for span in told.spans() if span.attributes.get("url.path") == path}
    numbers = {"SERVER": 2, "CLIENT": 3}
    found = [span for span in told.spans() if span["traceId"] in traces and span["kind"] == numbers[kind]]
    found = [span for span in found if span.service == service]
    return sorted(found, key=lambda span: int(span["startTimeUnixNano"]))


def times(span):
    return int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])


def test_one_trace_goes_through_both_sidecars_and_each_span_lies_within_its_parent(told):
    chain = [
        one(told, service, kind, "/reviews/7") for service in ("client", "server") for kind in ("SERVER", "CLIENT")
    ]
    assert [len(each) for each in chain] == [1, 1, 1, 1]
    spans = [each[0] for each in chain]
    assert len({span["traceId"] for span in spans}) == 1
    for outer, inner in pairwise(spans):
        assert inner["parentSpanId"] == outer["spanId"]
    for outer, inner in (spans[:2], spans[2:]):  # of one process, so of one clock
        assert times(outer)[0] < times(inner)[0] < times(inner)[1] < times(outer)[1]
        assert times(outer)[1] - times(outer)[0] > times(inner)[1] - times(inner)[0]


@pytest.mark.parametrize(("service", "peer"), [("client", "server"), ("server", "client")])
def test_mutual_tls_is_told_by_both_its_ends(told, service, peer):
    kind = {"client": "CLIENT", "server": "SERVER"}[service]
    (span,) = one(told, service, kind, "/reviews/7")
    found = span.attributes
    assert found["meshd.peer"] == f"spiffe://mesh.test/ns/default/sa/{peer}"
    assert (found["tls.protocol.name"], found["tls.protocol.version"], found["tls.established"]) == ("tls", "1.3", True)
    assert found["tls.resumed"] is False
    assert found["tls.cipher"].startswith("TLS_")
    assert {f"tls.{peer}.hash.sha256", f"tls.{peer}.issuer", f"tls.{peer}.not_after"} <= found.keys()


def test_addresses_ports_and_schemes_are_those_that_are(told):
    (server,) = one(told, "server", "SERVER", "/reviews/7")
    assert (server.attributes["url.scheme"], server.attributes["server.port"]) == ("https", 80)
    (client,) = one(told, "client", "CLIENT", "/reviews/7")
    found = client.attributes
    assert found["url.full"] == "http://reviews.test/reviews/7?page=2"
    assert (found["server.address"], found["server.port"]) == ("reviews.test", 80)
    assert found["network.peer.port"] not in (80, 443)
    for service in ("client", "server"):
        (span,) = one(told, service, "CLIENT", "/reviews/7")
        assert span.attributes["network.protocol.version"] == "1.1"
        assert span.attributes["meshd.connection.age"] >= 0
        assert one(told, service, "SERVER", "/reviews/7")[0].attributes["http.route"] == "/*"


def test_who_refused_is_told(told):
    assert one(told, "client", "SERVER", "/secret")[0].attributes["meshd.replied_by"] == "upstream_proxy"
    assert one(told, "server", "SERVER", "/secret")[0].attributes["meshd.replied_by"] == "proxy"
    assert one(told, "client", "SERVER", "/reviews/7")[0].attributes["meshd.replied_by"] == "app"


def test_a_second_try_is_a_span_of_its_own(told):
    tries = one(told, "client", "CLIENT", "/again") + one(told, "server", "CLIENT", "/again")
    resent = [span.attributes.get("http.request.resend_count", 0) for span in tries]
    assert max(resent) == 1


def test_every_attribute_is_of_the_conventions_or_ours(told):
    spans = told.spans()
    assert len(spans) >= 14
    for each in [*spans, *told.logs()]:
        assert not wrong(each.attributes), each
        assert not wrong(each.resource)
        for event in each.body.get("events", ()):
            assert not wrong(attributes(event))


def test_everything_has_the_schema_that_it_is_written_in(told):
    items = [*told.spans(), *told.logs(), *told.metrics()]
    assert {schema for each in items for schema in each.schemas} == {"https://opentelemetry.io/schemas/1.44.0"}


def test_the_resource_says_host_process_and_pod(told):
    for each in (told.spans()[0], told.logs()[0], told.metrics()[0]):
        found = each.resource
        assert found["host.name"] == os.uname().nodename
        assert found["process.pid"] > 1
        assert found["k8s.pod.name"] == "reviews-7"
        assert found["k8s.namespace.name"] == "shop"
        assert {"service.instance.id", "service.version", "os.type", "telemetry.sdk.name"} <= found.keys()


def test_every_metric_is_of_the_conventions_or_ours_with_a_unit_and_a_meaning(told):
    found = {each["name"]: each for each in told.metrics()}
    assert {"http.server.request.duration", "http.client.request.duration", "meshd.exchanges"} <= found.keys()
    for name, each in found.items():
        assert name.startswith("meshd.") or name in metrics_of_conventions()
        assert each["unit"]
        assert each["description"]
        assert "as meshd counts it" not in each["description"]
        for point in each.points:
            assert not wrong(attributes(point)), name


def test_what_is_counted_is_counted_in_whole_numbers(told):
    for each in told.metrics():
        for point in each.body.get("sum", {}).get("dataPoints", ()):
            assert "asInt" in point, each["name"]
    (exchanges,) = [each for each in told.metrics() if each["name"] == "meshd.exchanges" and each.service == "client"][
        -1:
    ]
    assert exchanges["sum"]["isMonotonic"]
    assert sum(int(point["asInt"]) for point in exchanges.points) == 4


def test_an_attempt_is_known_by_where_it_went(told):
    found = [each for each in told.metrics() if each["name"] == "http.client.request.duration"]
    points = {each.service: attributes(each.points[0]) for each in found}
    assert (points["client"]["server.address"], points["client"]["server.port"]) == ("reviews.test", 80)
    assert points["server"]["server.address"] == "127.0.0.1"
    assert points["client"]["network.protocol.version"] == "1.1"


def test_what_is_open_and_how_large_bodies_are_is_told_as_well(told):
    kinds = {
        each["name"]: next(kind for kind in ("sum", "gauge", "histogram") if kind in each.body)
        for each in told.metrics()
    }
    assert kinds["http.client.open_connections"] == "sum"
    assert kinds["http.server.response.body.size"] == kinds["http.server.request.body.size"] == "histogram"
    (level, *_) = [each for each in told.metrics() if each["name"] == "http.client.open_connections"]
    assert not level["sum"].get("isMonotonic")
    assert level["unit"] == "{connection}"
    assert {attributes(point)["http.connection.state"] for point in level.points} <= {"active", "idle"}


def test_durations_have_examples_that_are_traces(told):
    traces = {span["traceId"] for span in told.spans()}
    found = [
        example["traceId"]
        for each in told.metrics()
        if each["name"] == "http.server.request.duration"
        for point in each.points
        for example in point.get("exemplars", ())
    ]
    assert found
    assert set(found) <= traces


def test_each_exchange_is_a_log_record_at_its_span(told):
    records = [each for each in told.logs() if each.service == "client"]
    assert len(records) == 4
    spans = {span["spanId"]: span for span in told.spans()}
    for each in records:
        assert each["eventName"] == "meshd.access"
        line = json.loads(each["body"]["stringValue"])
        assert spans[each["spanId"]].attributes["url.path"] == line["path"].partition("?")[0]
    refused = next(each for each in records if each.attributes["url.path"] == "/secret")
    assert (refused["severityText"], refused.attributes["http.response.status_code"]) == ("WARN", 403)


def test_the_names_that_we_use_are_in_force(told):
    used = {name for each in [*told.spans(), *told.logs()] for name in each.attributes if not name.startswith("meshd.")}
    assert used <= of_conventions()


# -- a collector in trouble --------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path):
    collector = Otelcol(tmp_path).start()
    pair = Pair(tmp_path, collector, "http/protobuf", {})
    yield pair
    pair.close()
    collector.stop()


def paths(collector):
    return {span.attributes.get("url.path", "") for span in collector.spans() if span.service == "client"}


def test_a_collector_that_is_killed_costs_no_request_and_is_told_again_once_it_is_back(pair):
    collector = pair.collector
    assert pair.ask("/before") == 200
    until(lambda: "/before" in paths(collector), 60, "the first span")
    collector.kill()
    assert [pair.ask(f"/away-{number}") for number in range(50)] == [200] * 50
    until(lambda: pair.stats(pair.client, "meshd.telemetry.failures") >= 1, 60, "the failure is counted")
    collector.start()

    def is_told():
        pair.ask("/after")
        return "/after" in paths(collector)

    until(is_told, 90, "spans after the restart")
    lost = 50 - sum(path.startswith("/away-") for path in paths(collector))
    assert pair.stats(pair.client, "meshd.telemetry.dropped") >= lost


def test_a_collector_that_stops_reading_holds_nobody_up(pair):
    collector = pair.collector
    assert pair.ask("/before") == 200
    until(lambda: "/before" in paths(collector), 60, "the first span")
    collector.process.signal(signal.SIGSTOP)
    assert [pair.ask(f"/stopped-{number}") for number in range(50)] == [200] * 50
    until(lambda: pair.stats(pair.client, "meshd.exchanges") >= 51, 30, "the controller counts")
    collector.process.signal(signal.SIGCONT)
    until(lambda: "/stopped-49" in paths(collector), 90, "spans after the pause")


# -- what we ship ------------------------------------------------------------------------------------------------------


def test_the_configuration_that_we_ship_is_valid_and_takes_every_signal():
    path = DEPLOY / "otel-collector.yaml"
    argv = [otelcol(), "validate", "--config", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
