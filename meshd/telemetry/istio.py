"""The same numbers under Istio's names, so that dashboards made for it go on working.

Source: istio.io, reference/config/metrics. Labels are given as far as one sidecar knows them. A workload that is only
known by its identity is named after its service account, which is what Istio's own guides call both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from meshd.core.cells import BOUNDARIES, Labels
from meshd.telemetry.metrics import Distribution, Family, Kind

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Workload:
    """Who we are."""

    name: str
    namespace: str
    spiffe_id: str = ""


def istio_view(families: Iterable[Family], own: Workload) -> list[Family]:
    """`istio_*` families made of ours."""
    by_name = {family.name: family for family in families}
    view = [
        _counts("istio_requests", "Requests, under Istio's name.", _points(by_name, "meshd.exchanges"), own),
        _durations(by_name.get("http.server.request.duration"), own),
    ]
    for name, source in (("request", "meshd.messages.received"), ("response", "meshd.messages.sent")):
        text = "Messages of gRPC, under Istio's name."
        view.append(_counts(f"istio_{name}_messages", text, _points(by_name, source), own))
    for name, source in (("request", "meshd.exchange.received"), ("response", "meshd.exchange.sent")):
        view.append(_sizes(f"istio_{name}_bytes", by_name, source, own))
    return view


def _points(families: dict[str, Family], name: str) -> tuple[tuple[Labels, float], ...]:
    family = families.get(name)
    return () if family is None else family.points


def _counts(name: str, text: str, points: Iterable[tuple[Labels, float]], own: Workload) -> Family:
    found: dict[Labels, float] = {}
    for labels, value in points:
        key = _labels(dict(labels), own, flags=True)
        found[key] = found.get(key, 0.0) + value
    return Family(name, Kind.COUNTER, "", text, points=tuple(found.items()))


def _durations(family: Family | None, own: Workload) -> Family:
    found: dict[Labels, Distribution] = {}
    for labels, new in family.distributions if family is not None else ():
        key = _labels(dict(labels), own, flags=False)
        old = found.get(key)
        buckets = new.buckets
        if old is not None:
            buckets = tuple(a + b for a, b in zip(buckets, old.buckets, strict=True))
        sums = (new.count, new.sum * 1000) if old is None else (new.count + old.count, new.sum * 1000 + old.sum)
        found[key] = Distribution(buckets, *sums)
    return Family(
        "istio_request_duration_milliseconds",
        Kind.HISTOGRAM,
        "",
        "Duration of requests, under Istio's name.",
        distributions=tuple(found.items()),
        bounds=tuple(bound * 1000 for bound in BOUNDARIES),
    )


def _sizes(name: str, families: dict[str, Family], source: str, own: Workload) -> Family:
    """Count and sum of body sizes. We keep no buckets of them, so the only one is the one without a bound."""
    counts: dict[Labels, tuple[float, float]] = {}
    octets = dict(_points(families, source))
    for labels, count in _points(families, "meshd.exchanges"):
        key = _labels(dict(labels), own, flags=True)
        old = counts.get(key, (0.0, 0.0))
        counts[key] = (old[0] + count, old[1] + octets.get(labels, 0.0))
    found = tuple((labels, Distribution((), int(count), total)) for labels, (count, total) in counts.items())
    return Family(name, Kind.HISTOGRAM, "", "Body sizes, under Istio's name.", distributions=found, bounds=())


def _labels(ours: dict[str, str], own: Workload, *, flags: bool) -> Labels:
    inbound = ours.get("meshd.direction") == "inbound"
    peer = ours.get("meshd.peer", "")
    parts = peer.split("/")  # trust-domain/ns/<namespace>/sa/<account>
    namespace, account = (parts[2], parts[4]) if len(parts) == 5 else (UNKNOWN, UNKNOWN)
    service, _, where = ours.get("meshd.cluster", "").rpartition(":")[0].partition(".")
    secure = "mutual_tls" if ours.get("meshd.tls") == "true" and peer else "none"
    labels = {
        "reporter": "destination" if inbound else "source",
        "source_workload": account if inbound else own.name,
        "source_workload_namespace": namespace if inbound else own.namespace,
        "source_principal": (f"spiffe://{peer}" if peer else UNKNOWN) if inbound else own.spiffe_id or UNKNOWN,
        "destination_workload": own.name if inbound else UNKNOWN,
        "destination_workload_namespace": own.namespace if inbound else UNKNOWN,
        "destination_principal": (own.spiffe_id or UNKNOWN) if inbound else UNKNOWN,
        "destination_service": own.name if inbound else f"{service}.{where}".strip(".") or UNKNOWN,
        "destination_service_name": own.name if inbound else service or UNKNOWN,
        "destination_service_namespace": own.namespace if inbound else where.partition(".")[0] or UNKNOWN,
        "request_protocol": ours.get("rpc.system", "http"),
        "response_code": ours.get("http.response.status_code", "0"),
        "connection_security_policy": secure if inbound else UNKNOWN,
    }
    if flags:
        labels["response_flags"] = ours.get("meshd.response_flags") or "-"
        if "rpc.grpc.status_code" in ours:
            labels["grpc_response_status"] = ours["rpc.grpc.status_code"]
    return tuple(labels.items())
