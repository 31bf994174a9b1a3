"""A real OpenTelemetry Collector: run on free ports, what it wrote read back. `.ci/run` builds it.

It says nothing of how it treats what it is sent; who wants a collector that refuses or hangs takes `collector.py`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from support.processes import Running, free_port, until

SIGNALS = ("traces", "metrics", "logs")
TOP = Path(__file__).parents[2]
PLACES = (TOP / ".go-bin", Path.home() / ".cache/meshd-peers/collector/out")


def otelcol() -> str:
    """The program, in the folder that OTELCOL_FOLDER names, where `.ci/run` puts it, or on the path."""
    for place in (os.environ.get("OTELCOL_FOLDER"), *PLACES):
        if place and (found := shutil.which("otelcol", path=str(place))):
            return found
    if not (found := shutil.which("otelcol")):
        pytest.skip("otelcol is not built: .ci/run builds it, from tests/support/otelcol-builder.yaml")
    return found


@dataclass(frozen=True)
class Certificates:
    """A server's, for 127.0.0.1, which is its own authority."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> "Certificates":
        made = cls(folder / "otelcol.crt", folder / "otelcol.key")
        argv = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]
        argv += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        argv += ["-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)
        return made


class Otelcol:
    """May be killed and run again, on the same ports and into the same files."""

    def __init__(self, folder: Path, certificates: Certificates | None = None) -> None:
        self.program = otelcol()
        self.folder = folder
        self.scheme = "http" if certificates is None else "https"
        self.ports = {"http": free_port(), "grpc": free_port()}
        self.config = folder / "otelcol.json"  # JSON is YAML
        self.config.write_text(json.dumps(self._document(certificates)))
        self.process: Running | None = None

    def _document(self, certificates: Certificates | None) -> dict:
        tls = {}
        if certificates is not None:
            tls = {"tls": {"cert_file": str(certificates.certificate), "key_file": str(certificates.key)}}
        protocols = {name: {"endpoint": f"127.0.0.1:{port}", **tls} for name, port in self.ports.items()}
        written = {f"file/{each}": {"path": str(self.file(each)), "flush_interval": "100ms"} for each in SIGNALS}
        pipelines = {each: {"receivers": ["otlp"], "exporters": [f"file/{each}"]} for each in SIGNALS}
        return {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": written,
            "service": {"telemetry": {"metrics": {"level": "none"}}, "pipelines": pipelines},
        }

    def file(self, kind: str) -> Path:
        return self.folder / f"{kind}.jsonl"

    def endpoint(self, protocol: str) -> str:
        """For a sidecar's `otlp.endpoint`."""
        return f"{self.scheme}://127.0.0.1:{self.ports['grpc' if protocol == 'grpc' else 'http']}"

    def start(self) -> "Otelcol":
        self.process = Running([self.program, "--config", str(self.config)], self.folder / "otelcol.log")
        for port in self.ports.values():
            until(partial(self._listens, port), 60, f"the collector listens: {self.process.log}")
        return self

    def _listens(self, port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True

    def kill(self) -> None:
        self.process.signal(signal.SIGKILL)
        self.process.process.wait()

    def stop(self) -> int:
        self.process.signal(signal.SIGCONT)  # if it was stopped, so that it can end
        return self.process.stop()

    # -- what it wrote ---------------------------------------------------------------------------------------------

    def _lines(self, kind: str) -> list[dict]:
        if not self.file(kind).exists():
            return []
        whole, _, _rest = self.file(kind).read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def _items(self, kind: str, outer: str, inner: str, leaf: str) -> list["Item"]:
        return [
            Item(each, resource["resource"], resource.get("schemaUrl", ""), scope)
            for line in self._lines(kind)
            for resource in line[outer]
            for scope in resource[inner]
            for each in scope[leaf]
        ]

    def spans(self) -> list["Item"]:
        return self._items("traces", "resourceSpans", "scopeSpans", "spans")

    def logs(self) -> list["Item"]:
        return self._items("logs", "resourceLogs", "scopeLogs", "logRecords")

    def metrics(self) -> list["Item"]:
        return self._items("metrics", "resourceMetrics", "scopeMetrics", "metrics")


class Item:
    """One span, log record or metric, and who sent it."""

    def __init__(self, body: dict, resource: dict, schema: str, scope: dict) -> None:
        self.body = body
        self.resource = attributes(resource)
        self.schemas = (schema, scope.get("schemaUrl", ""))
        self.attributes = attributes(body)

    @property
    def service(self) -> str:
        return self.resource["service.name"]

    @property
    def points(self) -> list[dict]:
        """Of a metric."""
        return next(
            each["dataPoints"] for each in self.body.values() if isinstance(each, dict) and "dataPoints" in each
        )

    def __getitem__(self, name: str):
        return self.body[name]

    def __repr__(self) -> str:
        return f"<{self.body.get('name')} of {self.service} {self.attributes}>"


def attributes(body: dict) -> dict:
    """OTLP's attributes in Python's types; numbers are told apart by how OTLP has them."""
    return {each["key"]: _value(each["value"]) for each in body.get("attributes", ())}


def _value(value: dict):
    ((kind, found),) = value.items()
    if kind == "intValue":
        return int(found)
    return [_value(each) for each in found.get("values", ())] if kind == "arrayValue" else found
