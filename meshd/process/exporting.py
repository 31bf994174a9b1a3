"""The OpenTelemetry exporter, imported when it is needed: in the controller only, and after the sidecar is ready."""

from collections.abc import Callable, Sequence

from meshd.config.proxy import Otlp, Proxy
from meshd.telemetry.export_queue import ExportQueue
from meshd.telemetry.metrics import Family


def make_export_queue(proxy: Proxy, otlp: Otlp, collect: Callable[[], Sequence[Family]]) -> ExportQueue:
    """Load the SDK (a third of a second, some 30 MiB) and begin to export. To be called in a thread."""
    from meshd.telemetry.exporter import Exporter, Settings  # noqa: PLC0415  # see the head of this file

    settings = Settings(otlp.endpoint, otlp.protocol, proxy.name, proxy.namespace)
    return ExportQueue(Exporter(settings), collect, logs=otlp.logs)
