import subprocess
import sys

import pytest
from support.collector import GrpcCollector, HttpCollector, attributes
from support.exchanges import CLOCK, make_attempt, make_exchange, make_record

from meshd import __version__
from meshd.core.cells import BOUNDARIES
from meshd.telemetry.export_queue import ExportQueue
from meshd.telemetry.exporter import Exporter, Settings
from meshd.telemetry.metrics import Metrics
from meshd.telemetry.spans import build_spans


@pytest.fixture(params=[HttpCollector, GrpcCollector], ids=["http", "grpc"])
def collector(request):
    found = request.param()
    yield found
    found.close()


@pytest.fixture
def connect(collector):
    made = []

    def connect(timeout=5.0):
        settings = Settings(collector.endpoint, collector.protocol, "orders", "default", timeout)
        made.append(Exporter(settings))
        return made[-1]

    yield connect
    for exporter in made:
        exporter.close()


def retried():
    exchange = make_exchange()
    failed = make_attempt(
        2, status=0, flag="UF", details="connection refused", verdict="connect-failure", started=100.0
    )
    exchange.attempts.insert(0, failed)
    exchange.trace.parent_id = 0xB7AD6B7169203331
    exchange.trace.state = b"vendor=1,other=2"
    return exchange


def test_the_span_tree_arrives(collector, connect):
    exchange = retried()
    assert connect().send_spans(build_spans(make_record(exchange)))
    server, first, second = collector.spans
    assert (server.name, server.kind) == ("GET /orders/{id}", server.SPAN_KIND_SERVER)
    assert {first.kind, second.kind} == {server.SPAN_KIND_CLIENT}
    trace_id = exchange.trace.trace_id.to_bytes(16, "big")
    assert {span.trace_id for span in (server, first, second)} == {trace_id}
    assert server.parent_span_id.hex() == "b7ad6b7169203331"
    assert first.parent_span_id == second.parent_span_id == server.span_id
    assert len({server.span_id, first.span_id, second.span_id}) == 3
    assert server.trace_state == "vendor=1,other=2"
    assert server.flags & 0x300 == 0x300  # the parent is remote, and that is known
    assert first.flags & 0x300 == 0x100


def test_times_attributes_status_and_events_arrive(collector, connect):
    connect().send_spans(build_spans(make_record(retried())))
    server, first, _second = collector.spans
    assert abs(server.start_time_unix_nano - int((CLOCK + 100) * 1e9)) < 1000
    assert abs(server.end_time_unix_nano - server.start_time_unix_nano - 5_000_000) < 1000
    found = attributes(server)
    assert (found["http.request.method"], found["http.response.status_code"]) == ("GET", 200)
    assert found["tls.resumed"] is True
    assert server.status.code == server.status.STATUS_CODE_UNSET
    assert (first.status.code, first.status.message) == (first.status.STATUS_CODE_ERROR, "connection refused")
    (event,) = server.events
    assert (event.name, attributes(event)["meshd.retry"]) == ("meshd.retry", "connect-failure")


def test_the_resource_says_who_sent_it(collector, connect, monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    connect().send_spans(build_spans(make_record()))
    found = collector.resource
    assert (found["service.name"], found["service.namespace"]) == ("orders", "default")
    assert (found["telemetry.distro.name"], found["telemetry.distro.version"]) == ("meshd", __version__)
    assert found["deployment.environment.name"] == "test"
    scope = collector.traces[0].resource_spans[0].scope_spans[0].scope
    assert (scope.name, scope.version) == ("meshd", __version__)


def test_metrics_arrive_as_sums_gauges_and_histograms(collector, connect):
    metrics = Metrics()
    metrics.cells.add("meshd.exchanges", (("meshd.route", "r"),), 3)
    metrics.cells.set("meshd.generation", 7)
    metrics.cells.histogram("http.server.request.duration").observe(0.02)
    assert connect().send_metrics(metrics.collect())
    found = collector.latest_metrics
    (point,) = found["meshd.exchanges"].sum.data_points
    assert (point.as_int or point.as_double, attributes(point)) == (3, {"meshd.route": "r"})
    assert found["meshd.exchanges"].sum.is_monotonic
    assert found["meshd.exchanges"].sum.aggregation_temporality == 2
    assert 0 < point.start_time_unix_nano <= point.time_unix_nano
    assert found["meshd.generation"].gauge.data_points[0].as_int == 7
    duration = found["http.server.request.duration"]
    (point,) = duration.histogram.data_points
    assert (duration.unit, point.count, point.sum, tuple(point.explicit_bounds)) == ("s", 1, 0.02, BOUNDARIES)
    assert list(point.bucket_counts)[2] == 1
    assert not point.HasField("min")


def test_text_that_is_no_text_and_state_that_is_no_state_still_arrive(collector, connect):
    exchange = make_exchange(path=b"/\xff", fields=[(b"user-agent", b"\x80\xc3\xa9")])
    exchange.details = "half a surrogate \ud800"
    exchange.trace.state = b"no state at all"
    connect().send_spans(build_spans(make_record(exchange)))
    found = attributes(collector.spans[0])
    assert (found["url.path"], found["user_agent.original"]) == ("/\\xff", "\\x80\xe9")
    assert found["meshd.details"] == "half a surrogate \\ud800"
    assert collector.spans[0].trace_state == ""


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["down", "hang"])
def test_a_collector_that_does_not_take_them_is_a_failure_in_time(collector, connect, answer):
    collector.answers = [answer]
    exporter = connect(timeout=0.3)
    assert not exporter.send_spans(build_spans(make_record()))
    collector.released.set()
    collector.answers = ["ok"]
    assert exporter.send_spans(build_spans(make_record()))


def test_429_is_tried_again_as_the_collector_asks():
    collector = HttpCollector()
    collector.answers = ["busy", "busy", "ok"]
    exporter = Exporter(Settings(collector.endpoint, "http/protobuf", "orders", "default"))
    assert exporter.send_spans(build_spans(make_record()))
    assert collector.requests == 3
    exporter.close()
    collector.close()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_nobody_there_is_a_failure(protocol):
    collector = HttpCollector()
    collector.close()
    exporter = Exporter(Settings(collector.endpoint, protocol, "orders", "default", timeout=0.2))
    assert not exporter.send_spans(build_spans(make_record()))
    assert repr(exporter) == f"<Exporter to {collector.endpoint}>"
    exporter.close()


def test_a_proxy_in_the_environment_is_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for kind in (HttpCollector, GrpcCollector):
        collector = kind()
        exporter = Exporter(Settings(collector.endpoint, collector.protocol, "orders", "default", timeout=2))
        assert exporter.send_spans(build_spans(make_record()))
        exporter.close()
        collector.close()


def test_headers_from_the_environment_are_sent(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=abc")
    collector = HttpCollector()
    exporter = Exporter(Settings(collector.endpoint + "/", "http/protobuf", "orders", "default"))
    exporter.send_spans(build_spans(make_record()))
    assert collector.headers["x-api-key"] == "abc"
    exporter.close()
    collector.close()


def test_through_the_queue_from_record_to_collector(collector, connect):
    metrics = Metrics()
    metrics.cells.add("meshd.exchanges")
    queue = ExportQueue(connect(), metrics.collect)
    queue.offer([make_record(), make_record(make_exchange(status=503))])
    queue.shutdown(5)
    assert len(collector.spans) == queue.exported == 4
    assert "meshd.exchanges" in collector.latest_metrics


HOT = "meshd.telemetry.tracing, meshd.telemetry.records, meshd.telemetry.report"
COLD = "meshd.telemetry.metrics, meshd.telemetry.access_log, meshd.telemetry.recent, meshd.telemetry.export_queue"


@pytest.mark.slow
@pytest.mark.parametrize("modules", [HOT, f"{HOT}, {COLD}, meshd.telemetry.prometheus, meshd.telemetry.istio"])
def test_nothing_but_the_exporter_imports_the_sdk(modules):
    heavy = (
        "[name for name in sys.modules if name.partition('.')[0] in ('opentelemetry', 'grpc', 'requests', 'pydantic')]"
    )
    program = f"import sys, {modules}; sys.exit(repr({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", program], check=True)
