"""Spans, metrics and logs to an OpenTelemetry collector by OTLP: the only importer of the OpenTelemetry SDK.

Importing this costs the controller memory, so it does so only when telemetry is on; and of the two OTLP clients,
which cost most of it, only the one that is used is imported. What the clients read from the environment (headers,
certificates, compression: OTEL_EXPORTER_OTLP_*) holds. A proxy from the environment does not: in a sidecar that may
well be ourselves.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace.status import Status, StatusCode

from meshd import __version__
from meshd.core.cells import Exemplar, Labels
from meshd.telemetry.log_events import NAME as EVENT_NAME
from meshd.telemetry.log_events import LogEvent
from meshd.telemetry.metrics import Distribution, Family
from meshd.telemetry.metrics import Kind as MetricKind
from meshd.telemetry.names import description
from meshd.telemetry.resource import describe_resource
from meshd.telemetry.span_facts import Attributes, Value
from meshd.telemetry.spans import Kind, Span

SCHEMA: Final = Schemas.V1_44_0.value
SCOPE: Final = InstrumentationScope("meshd", __version__, SCHEMA)
KINDS: Final = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}
Clients: TypeAlias = tuple[SpanExporter, MetricExporter, LogRecordExporter]
SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to, and as whom."""

    endpoint: str  # the collector's base URL, such as http://127.0.0.1:4318
    protocol: str  # http/protobuf or grpc
    service: str
    namespace: str
    timeout: float = 10.0  # seconds for one export, retries of the client included


class Exporter:
    """Owns the connections to one collector, and says who we are."""

    __slots__ = ("_endpoint", "_logs", "_metrics", "_resource", "_spans", "_started")

    def __init__(self, settings: Settings) -> None:
        # The clients tell of every failed try; the queue tells of an outage once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._endpoint = settings.endpoint
        self._spans, self._metrics, self._logs = _CLIENTS[settings.protocol](settings)
        self._resource = resource_of(settings)
        self._started = time.time_ns()

    def send_spans(self, spans: Sequence[Span]) -> bool:
        """Send; False when they were not taken."""
        readable = [readable_span(span, self._resource) for span in spans]
        return self._spans.export(readable) is SpanExportResult.SUCCESS

    def send_metrics(self, families: Sequence[Family]) -> bool:
        """Send; False when they were not taken."""
        payload = metrics_data(families, self._resource, self._started, time.time_ns())
        return self._metrics.export(payload) is MetricExportResult.SUCCESS

    def send_logs(self, events: Sequence[LogEvent]) -> bool:
        """Send; False when they were not taken."""
        readable = [readable_log(event, self._resource) for event in events]
        return self._logs.export(readable) is LogRecordExportResult.SUCCESS

    def close(self) -> None:
        """End the connections."""
        self._spans.shutdown()
        self._metrics.shutdown()
        self._logs.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves this one without annotations

    def __repr__(self) -> str:
        return f"<Exporter to {self._endpoint}>"


def resource_of(settings: Settings) -> Resource:
    """Who sends: the sidecar's name as the service, and what OTEL_RESOURCE_ATTRIBUTES adds."""
    detected = Resource({**describe_resource(os.environ)}, SCHEMA)
    own = {
        "service.name": settings.service,
        "service.namespace": settings.namespace,
        "service.version": __version__,
        "telemetry.distro.name": "meshd",
        "telemetry.distro.version": __version__,
    }
    return detected.merge(Resource.create(own))


def _http_clients(settings: Settings) -> Clients:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import (  # noqa: PLC0415  # 12 MiB, only when asked for
        OTLPLogExporter,
    )
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    from meshd.telemetry.bounded_session import BoundedSession  # noqa: PLC0415  # imports `requests`

    base, timeout = settings.endpoint.rstrip("/"), settings.timeout
    spans, metrics, logs = (BoundedSession(timeout) for _ in range(3))
    return (
        OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=timeout, session=spans),
        OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=timeout, session=metrics),
        OTLPLogExporter(endpoint=f"{base}/v1/logs", timeout=timeout, session=logs),
    )


def _grpc_clients(settings: Settings) -> Clients:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415  # 20 MiB, only when asked for
        OTLPMetricExporter,
    )
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    endpoint, timeout = settings.endpoint, settings.timeout
    options = (("grpc.enable_http_proxy", 0),)
    return (
        OTLPSpanExporter(
            endpoint=endpoint,
            timeout=timeout,
            channel_options=options,  # type: ignore[arg-type]  # annotated as text, but gRPC wants an integer here
        ),
        OTLPMetricExporter(
            endpoint=endpoint,
            timeout=timeout,
            channel_options=options,  # type: ignore[arg-type]  # as above
        ),
        OTLPLogExporter(
            endpoint=endpoint,
            timeout=timeout,
            channel_options=options,  # type: ignore[arg-type]  # as above
        ),
    )


_CLIENTS: Final = {"http/protobuf": _http_clients, "grpc": _grpc_clients}


def readable_span(span: Span, resource: Resource) -> ReadableSpan:
    """A span of ours as the SDK's."""
    state = TraceState.from_header([span.state]) if span.state else TraceState()
    context = SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=SAMPLED, trace_state=state)
    parent = None
    if span.parent_id:
        parent = SpanContext(span.trace_id, span.parent_id, is_remote=span.remote, trace_flags=SAMPLED)
    return ReadableSpan(
        name=_clean(span.name),
        context=context,
        parent=parent,
        resource=resource,
        attributes=_clean_all(span.attributes),
        events=[SdkEvent(event.name, _clean_all(event.attributes), _nanos(event.at)) for event in span.events],
        kind=KINDS[span.kind],
        status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, _clean(span.error) or None),
        start_time=_nanos(span.started),
        end_time=max(_nanos(span.started), _nanos(span.ended)),
        instrumentation_scope=SCOPE,
    )


def readable_log(event: LogEvent, resource: Resource) -> ReadableLogRecord:
    """A log event of ours as the SDK's."""
    flags = SAMPLED if event.sampled else TraceFlags(TraceFlags.DEFAULT)
    context = SpanContext(event.trace_id, event.span_id, is_remote=False, trace_flags=flags)
    made = LogRecord(
        timestamp=_nanos(event.at),
        observed_timestamp=_nanos(event.at),
        context=set_span_in_context(NonRecordingSpan(context), Context()),
        severity_text=event.severity.name,
        severity_number=SeverityNumber(event.severity.value),
        body=_clean(event.body),
        attributes=_clean_all(event.attributes),
        event_name=EVENT_NAME,
    )
    return ReadableLogRecord(made, resource, SCOPE)


@lru_cache(maxsize=32_768)
def typed(labels: Labels) -> Attributes:
    """The labels of a metric, which are text here, in the types of the conventions; one without a value is none."""
    return {name: _TYPES[name](value) if name in _TYPES else _clean(value) for name, value in labels if value}


_TYPES: Final[dict[str, Callable[[str], Value]]] = {
    "http.response.status_code": int,
    "server.port": int,
    "network.peer.port": int,
    "meshd.tls": lambda value: value == "true",
}


def metrics_data(families: Sequence[Family], resource: Resource, started: int, now: int) -> MetricsData:
    """Our families in the SDK's data model: cumulative since `started` (both in nanoseconds)."""
    metrics = [Metric(family.name, family.text, family.unit, _points(family, started, now)) for family in families]
    scope = ScopeMetrics(SCOPE, metrics, SCHEMA)
    return MetricsData([ResourceMetrics(resource, [scope], SCHEMA)])


def _points(family: Family, started: int, now: int) -> "Sum | Gauge | HistogramData":
    if family.kind is MetricKind.HISTOGRAM:
        found = [_histogram_point(labels, each, family, (started, now)) for labels, each in family.distributions]
        return HistogramData(found, AggregationTemporality.CUMULATIVE)
    is_whole = family.unit != "s"  # what is counted is counted in whole numbers
    points = [
        NumberDataPoint(typed(labels), started, now, int(value) if is_whole else value)
        for labels, value in family.points
        if math.isfinite(value)
    ]
    if family.kind is MetricKind.GAUGE and not description(family.name).level:
        return Gauge(points)
    return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=family.kind is MetricKind.COUNTER)


def _histogram_point(labels: Labels, each: Distribution, family: Family, when: tuple[int, int]) -> HistogramDataPoint:
    return HistogramDataPoint(
        attributes=typed(labels),
        start_time_unix_nano=when[0],
        time_unix_nano=when[1],
        count=each.count,
        sum=each.sum,
        bucket_counts=each.buckets,
        explicit_bounds=family.bounds,
        min=None,  # type: ignore[arg-type]  # optional in OTLP, and we do not keep it; the SDK's model has no way to say so
        max=None,  # type: ignore[arg-type]  # as above
        exemplars=[] if each.exemplar is None else [_exemplar(each.exemplar)],
    )


def _exemplar(of: Exemplar) -> SdkExemplar:
    value, trace_id, span_id, at = of
    return SdkExemplar({}, value, _nanos(at), span_id=span_id, trace_id=trace_id)


def _nanos(seconds: float) -> int:
    return int(seconds * 1e9)


def _clean(text: str) -> str:
    """Text that protobuf takes: it must encode."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _clean_all(attributes: Attributes) -> Attributes:
    return {name: _clean(value) if isinstance(value, str) else value for name, value in attributes.items()}
