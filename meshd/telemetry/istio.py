"""The same numbers under Istio's names, so that dashboards made for it go on working.

Source: istio.io, reference/config/metrics, "Labels". They are given as far as one sidecar knows them, and `unknown`
where not, as Istio has it. A peer is only known by its identity; its workload is named after its service account, which
is what Istio's own guides call both. As there, who reports as the source does not judge how a connection was secured.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from meshd.core.cells import BOUNDARIES, SIZE_BOUNDARIES, Labels
from meshd.http.grpc import STATUS_NAMES
from meshd.telemetry.destination import DOMAIN, destination_of
from meshd.telemetry.metrics import Distribution, Family, Kind

UNKNOWN = "unknown"
SCHEME = "spiffe://"


@dataclass(frozen=True, slots=True)
class Services:
    """What documents say of names."""

    own: str = ""  # the Service whose selector takes this workload; empty when none does
    namespaces: Mapping[str, str] = field(default_factory=dict)  # of ServiceEntries, by host


@dataclass(frozen=True, slots=True)
class Workload:
    """Who we are."""

    name: str
    namespace: str
    spiffe_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    services: Callable[[], Services] = Services


def istio_view(families: Iterable[Family], own: Workload) -> list[Family]:
    """`istio_*` families made of ours."""
    by_name = {family.name: family for family in families}
    name_of = _Names(own)
    view = [
        _counts("istio_requests", "Requests, under Istio's name.", _points(by_name, "meshd.exchanges"), name_of),
        _distributions(
            "istio_request_duration_milliseconds",
            "Duration of requests, under Istio's name.",
            by_name.get("http.server.request.duration"),
            name_of,
            tuple(bound * 1000 for bound in BOUNDARIES),
        ),
    ]
    for name, messages in (("request", "meshd.messages.received"), ("response", "meshd.messages.sent")):
        text = "Messages of gRPC, under Istio's name."
        view.append(_counts(f"istio_{name}_messages", text, _points(by_name, messages), name_of))
    for name in ("request", "response"):
        source = by_name.get(f"http.server.{name}.body.size")
        text = "Body sizes, under Istio's name."
        view.append(_distributions(f"istio_{name}_bytes", text, source, name_of, SIZE_BOUNDARIES))
    return view


def _points(families: dict[str, Family], name: str) -> tuple[tuple[Labels, float], ...]:
    family = families.get(name)
    return () if family is None else family.points


def _counts(name: str, text: str, points: Iterable[tuple[Labels, float]], name_of: "_Names") -> Family:
    found: dict[Labels, float] = {}
    for labels, value in points:
        key = name_of(dict(labels), counts=True)
        found[key] = found.get(key, 0.0) + value
    return Family(name, Kind.COUNTER, "", text, points=tuple(found.items()))


def _distributions(name: str, text: str, family: Family | None, name_of: "_Names", bounds: tuple[float, ...]) -> Family:
    """Histograms of ours, those put together that Istio does not tell apart; durations in its milliseconds."""
    factor = 1000.0 if bounds is not SIZE_BOUNDARIES else 1.0
    found: dict[Labels, Distribution] = {}
    for labels, new in family.distributions if family is not None else ():
        key = name_of(dict(labels), counts=False)
        old = found.get(key) or Distribution((0,) * len(new.buckets), 0, 0.0)
        buckets = tuple(a + b for a, b in zip(new.buckets, old.buckets, strict=True))
        found[key] = Distribution(buckets, new.count + old.count, new.sum * factor + old.sum)
    return Family(name, Kind.HISTOGRAM, "", text, distributions=tuple(found.items()), bounds=bounds)


class _Names:
    """From our labels to Istio's, for one reading of the metrics."""

    __slots__ = ("_here", "_own", "_services")

    def __init__(self, own: Workload) -> None:
        self._own = own
        self._services = own.services()
        labels = own.labels
        app = labels.get("app") or labels.get("app.kubernetes.io/name") or UNKNOWN
        version = labels.get("version") or labels.get("app.kubernetes.io/version") or UNKNOWN
        service = labels.get("service.istio.io/canonical-name") or labels.get("app.kubernetes.io/name")
        self._here = {
            "workload": own.name,
            "workload_namespace": own.namespace,
            "principal": own.spiffe_id or UNKNOWN,
            "app": app,
            "version": version,
            "cluster": UNKNOWN,
            "canonical_service": service or labels.get("app") or own.name,
            "canonical_revision": labels.get("service.istio.io/canonical-revision")
            or labels.get("version")
            or "latest",
        }

    def __call__(self, ours: dict[str, str], *, counts: bool) -> Labels:
        inbound = ours.get("meshd.direction") == "inbound"
        there = _peer(ours.get("meshd.peer" if inbound else "meshd.upstream_peer", ""))
        source, destination = (there, self._here) if inbound else (self._here, there)
        labels = {"reporter": "destination" if inbound else "source"}
        labels |= {f"source_{name}": value for name, value in source.items()}
        labels |= {f"destination_{name}": value for name, value in destination.items()}
        labels |= self._service(ours.get("meshd.cluster", ""), inbound=inbound)
        labels |= {
            "request_protocol": ours.get("rpc.system.name", "http"),
            "response_code": ours.get("http.response.status_code", "0"),
            "connection_security_policy": UNKNOWN,
        }
        if inbound:
            secure = ours.get("meshd.tls") == "true" and "meshd.peer" in ours
            labels["connection_security_policy"] = "mutual_tls" if secure else "none"
        if counts:
            labels["response_flags"] = ours.get("meshd.response_flags") or "-"
            if (status := ours.get("rpc.response.status_code")) is not None:
                labels["grpc_response_status"] = _number(status)
        return tuple(labels.items())

    def _service(self, cluster: str, *, inbound: bool) -> dict[str, str]:
        """The service that was asked for: a Service by its name in the cluster, anything else by its host."""
        own = self._own
        host, name, namespace = "", "", ""
        if inbound:
            name, namespace = self._services.own or own.name, own.namespace
            host = f"{name}.{namespace}.{DOMAIN}"
        else:
            host, _port, name, namespace = destination_of(cluster)
            namespace = namespace or self._services.namespaces.get(host.lower(), "")
        return {
            "destination_service": host or UNKNOWN,
            "destination_service_name": name or UNKNOWN,
            "destination_service_namespace": namespace or UNKNOWN,
        }


def _peer(identity: str) -> dict[str, str]:
    """Who an identity is: trust-domain/ns/<namespace>/sa/<account>, with or without its scheme."""
    principal = identity.removeprefix(SCHEME)
    parts = principal.split("/")
    namespace, account = (parts[2], parts[4]) if len(parts) == 5 else (UNKNOWN, UNKNOWN)
    return {
        "workload": account,
        "workload_namespace": namespace,
        "principal": f"{SCHEME}{principal}" if principal else UNKNOWN,
        "app": UNKNOWN,
        "version": UNKNOWN,
        "cluster": UNKNOWN,
        "canonical_service": account,
        "canonical_revision": "latest" if principal else UNKNOWN,
    }


def _number(status: str) -> str:
    """Istio has statuses of gRPC by number."""
    return str(STATUS_NAMES.index(status)) if status in STATUS_NAMES else status
