"""The OpenTelemetry exporter, imported when it is needed: in the controller only, and after the sidecar is ready."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from meshd.config.proxy import Otlp, Proxy
from meshd.telemetry.export_queue import ExportQueue
from meshd.telemetry.metrics import Family

INTERVAL: Final = 10.0  # seconds between two exports of metrics
VARIABLE: Final = "OTEL_METRIC_EXPORT_INTERVAL"  # milliseconds, as OpenTelemetry's SDKs read it

log = logging.getLogger(__name__)


def interval_of(environ: Mapping[str, str]) -> float:
    """Seconds between two exports of metrics; what is no interval from a second up to an hour changes nothing."""
    text = environ.get(VARIABLE, "")
    if not text:
        return INTERVAL
    if text.isascii() and text.isdigit() and 1000 <= int(text[:9]) <= 3_600_000:
        return int(text) / 1000
    log.warning("%s: got %.40r, expected milliseconds from 1000 to 3600000; it stays %g s", VARIABLE, text, INTERVAL)
    return INTERVAL


def make_export_queue(proxy: Proxy, otlp: Otlp, collect: Callable[[], Sequence[Family]]) -> ExportQueue:
    """Load the SDK (a third of a second, some 30 MiB) and begin to export. To be called in a thread."""
    from meshd.telemetry.exporter import Exporter, Settings  # noqa: PLC0415  # see the head of this file

    settings = Settings(otlp.endpoint, otlp.protocol, proxy.name, proxy.namespace)
    return ExportQueue(Exporter(settings), collect, interval_of(os.environ), logs=otlp.logs)
