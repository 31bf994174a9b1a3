"""Which kinds are accepted and in which versions, and the collection of documents that loading yields.

Adding a kind: its model in a file of its own, one line in KINDS, one field in `Documents`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Generic, TypeVar, cast

from meshd.config.authorization import AuthorizationPolicy
from meshd.config.backend_policy import BackendPolicy
from meshd.config.destination_rule import DestinationRule
from meshd.config.errors import Path, Problem
from meshd.config.fault_policy import FaultPolicy
from meshd.config.grpc_route import GRPCRoute
from meshd.config.http_route import HTTPRoute
from meshd.config.l4_route import TCPRoute, TCPRouteAlpha, TLSRoute, TLSRouteAlpha
from meshd.config.model import Resource
from meshd.config.peer_authentication import PeerAuthentication
from meshd.config.proxy import Proxy
from meshd.config.rate_limit_policy import RateLimitPolicy
from meshd.config.request_authentication import RequestAuthentication
from meshd.config.request_policy import RequestPolicy
from meshd.config.service import EndpointSlice, Service
from meshd.config.service_entry import ServiceEntry
from meshd.config.spot import Spot

R = TypeVar("R", bound=Resource)
R_co = TypeVar("R_co", bound=Resource, covariant=True)

GATEWAY: Final = "gateway.networking.k8s.io"
SECURITY: Final = "security.istio.io"
NETWORKING: Final = "networking.istio.io"
OURS: Final = "meshd.dev/v1alpha1"


def _versions(group: str, *versions: str) -> tuple[str, ...]:
    return tuple(f"{group}/{version}" for version in versions)


# The first version is the one that `meshd schema` and messages speak of; older ones that clusters still serve follow.
KINDS: Final[Mapping[str, Mapping[str, type[Resource]]]] = {
    "Proxy": {OURS: Proxy},
    "Service": {"v1": Service},
    "EndpointSlice": {"discovery.k8s.io/v1": EndpointSlice},
    "ServiceEntry": dict.fromkeys(_versions(NETWORKING, "v1", "v1beta1", "v1alpha3"), ServiceEntry),
    "HTTPRoute": dict.fromkeys(_versions(GATEWAY, "v1", "v1beta1"), HTTPRoute),
    "GRPCRoute": dict.fromkeys(_versions(GATEWAY, "v1", "v1alpha2"), GRPCRoute),
    "TCPRoute": {f"{GATEWAY}/v1": TCPRoute, f"{GATEWAY}/v1alpha2": TCPRouteAlpha},
    "TLSRoute": {
        f"{GATEWAY}/v1": TLSRoute,
        f"{GATEWAY}/v1alpha3": TLSRoute,
        f"{GATEWAY}/v1alpha2": TLSRouteAlpha,
    },
    "AuthorizationPolicy": dict.fromkeys(_versions(SECURITY, "v1", "v1beta1"), AuthorizationPolicy),
    "PeerAuthentication": dict.fromkeys(_versions(SECURITY, "v1", "v1beta1"), PeerAuthentication),
    "RequestAuthentication": dict.fromkeys(_versions(SECURITY, "v1", "v1beta1"), RequestAuthentication),
    "DestinationRule": dict.fromkeys(_versions(NETWORKING, "v1", "v1beta1", "v1alpha3"), DestinationRule),
    "BackendPolicy": {OURS: BackendPolicy},
    "RateLimitPolicy": {OURS: RateLimitPolicy},
    "FaultPolicy": {OURS: FaultPolicy},
    "RequestPolicy": {OURS: RequestPolicy},
}

# Kinds that say how traffic should flow, but that nothing here reads: an error, with what to write instead.
UNSUPPORTED_KINDS: Final[Mapping[str, str]] = {
    "VirtualService": "write an HTTPRoute with a Service as parent",
    "EnvoyFilter": "it edits the configuration of another proxy; remove it",
    "Sidecar": "a Proxy document says what this sidecar serves",
    "WorkloadEntry": "list the endpoint in a ServiceEntry",
    "WasmPlugin": "it extends another proxy; remove it",
    "BackendTLSPolicy": "write a DestinationRule with trafficPolicy.tls",
    "XBackendTrafficPolicy": "write a BackendPolicy with a retry budget",
    "UDPRoute": "UDP is not proxied; remove it",
    "EnvoyProxy": "it configures another proxy; remove it",
}

# Kinds of a cluster that say nothing about traffic: accepted and left alone, with a warning.
IGNORED_KINDS: Final[frozenset[str]] = frozenset(
    """
    APIService CertificateSigningRequest ClusterRole ClusterRoleBinding ConfigMap ControllerRevision CronJob
    CustomResourceDefinition DaemonSet Deployment Endpoints Event Gateway GatewayClass HorizontalPodAutoscaler Ingress
    IngressClass Job Kustomization Lease LimitRange MutatingWebhookConfiguration Namespace NetworkPolicy Node
    PersistentVolume PersistentVolumeClaim Pod PodDisruptionBudget PodMonitor PodTemplate PriorityClass ReferenceGrant
    ReplicaSet ReplicationController ResourceQuota Role RoleBinding RuntimeClass Secret ServiceAccount ServiceMonitor
    StatefulSet StorageClass Telemetry ValidatingAdmissionPolicy ValidatingWebhookConfiguration VerticalPodAutoscaler
    VolumeAttachment WorkloadGroup
    """.split()  # noqa: SIM905  # a list of fifty quoted names reads worse
)


NOWHERE: Final = Spot(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Document(Generic[R_co]):
    """A model with the place it was read from. Documents are equal when file and model are.

    Positions travel packed and are unpacked when somebody asks: they weigh more than the model, and workers never ask.
    """

    model: R_co
    file: str
    positions: Spot | bytes = field(compare=False, repr=False)
    lines_before: int = field(default=0, compare=False, repr=False)  # which `positions` do not count
    _title: str = field(default="", compare=False, repr=False)

    def __reduce__(self) -> "tuple[type[Document[R_co]], tuple[R_co, str, bytes, int]]":
        packed = self.positions if isinstance(self.positions, bytes) else self.positions.pack()
        return Document, (self.model, self.file, packed, self.lines_before)

    def below(self, lines: int) -> "Document[R_co]":
        """The same, with that many lines more before it."""
        return Document(self.model, self.file, self.positions, self.lines_before + lines, self._title)

    @property
    def spot(self) -> Spot:
        """Where everything in the document stands, `lines_before` not counted."""
        if not self.positions:
            return NOWHERE  # it came from another process, which knows
        return Spot.unpack(self.positions) if isinstance(self.positions, bytes) else self.positions

    @property
    def title(self) -> str:
        """`Kind namespace/name`, as messages call it."""
        if not self._title:  # asked for again and again, and always the same
            metadata = self.model.metadata
            object.__setattr__(self, "_title", f"{self.model.kind} {metadata.namespace}/{metadata.name}")
        return self._title

    def where(self, path: Path = (), *, key: bool = False) -> tuple[str, int, int]:
        """File, line and column of the value at a path (of its key, if asked), or of the nearest value around it."""
        spot, before = self.spot.find(path), self.lines_before
        if key:
            return self.file, before + spot.key_line, spot.key_column
        return self.file, before + spot.line, spot.column

    def __repr__(self) -> str:
        return f"<Document {self.title} {self.file}:{self.where()[1]}>"


@dataclass(frozen=True, slots=True)
class Documents:
    """Every document of one load, by kind, each kind in the order of namespace and name. `digest` is equal exactly when
    the documents say the same, wherever they stand."""

    services: tuple[Document[Service], ...] = ()
    endpoint_slices: tuple[Document[EndpointSlice], ...] = ()
    service_entries: tuple[Document[ServiceEntry], ...] = ()
    http_routes: tuple[Document[HTTPRoute], ...] = ()
    grpc_routes: tuple[Document[GRPCRoute], ...] = ()
    tcp_routes: tuple[Document[TCPRoute], ...] = ()
    tls_routes: tuple[Document[TLSRoute], ...] = ()
    authorization_policies: tuple[Document[AuthorizationPolicy], ...] = ()
    peer_authentications: tuple[Document[PeerAuthentication], ...] = ()
    request_authentications: tuple[Document[RequestAuthentication], ...] = ()
    destination_rules: tuple[Document[DestinationRule], ...] = ()
    backend_policies: tuple[Document[BackendPolicy], ...] = ()
    rate_limit_policies: tuple[Document[RateLimitPolicy], ...] = ()
    fault_policies: tuple[Document[FaultPolicy], ...] = ()
    request_policies: tuple[Document[RequestPolicy], ...] = ()
    problems: tuple[Problem, ...] = ()  # warnings
    digest: str = ""
    files: tuple[str, ...] = field(default=(), compare=False)  # all that were read
    empty_lists: frozenset[str] = frozenset()  # kinds of Lists without items: of these, nothing is meant

    def each(self) -> Iterator[Document[Resource]]:
        """Every document, kind by kind."""
        for part in fields(self):
            if part.name == "problems":
                return
            yield from getattr(self, part.name)

    def __len__(self) -> int:
        return sum(1 for _ in self.each())

    def __repr__(self) -> str:
        return f"<Documents {len(self)} documents, {len(self.problems)} warnings, {self.digest[:12]}>"


# Where documents of each kind stand among `Documents`.
PLACES: Final[Mapping[str, str]] = {
    "Service": "services",
    "EndpointSlice": "endpoint_slices",
    "ServiceEntry": "service_entries",
    "HTTPRoute": "http_routes",
    "GRPCRoute": "grpc_routes",
    "TCPRoute": "tcp_routes",
    "TLSRoute": "tls_routes",
    "AuthorizationPolicy": "authorization_policies",
    "PeerAuthentication": "peer_authentications",
    "RequestAuthentication": "request_authentications",
    "DestinationRule": "destination_rules",
    "BackendPolicy": "backend_policies",
    "RateLimitPolicy": "rate_limit_policies",
    "FaultPolicy": "fault_policies",
    "RequestPolicy": "request_policies",
}


def of_kind(documents: "Iterable[Document[Resource]]", model: type[R]) -> tuple[Document[R], ...]:
    """Those of one kind, in the order of namespace and name."""
    found = [cast("Document[R]", each) for each in documents if isinstance(each.model, model)]
    return in_order(found)


def collect(documents: "Iterable[Document[Resource]]", problems: Iterable[Problem] = (), digest: str = "") -> Documents:
    """Each in its place; bootstraps have none."""
    found: dict[str, list[Document[Resource]]] = {}
    for each in documents:
        if each.model.kind in PLACES:
            found.setdefault(PLACES[each.model.kind], []).append(each)
    places = {place: in_order(held) for place, held in found.items()}
    return Documents(**places, problems=tuple(problems), digest=digest)  # type: ignore[arg-type]  # PLACES knows which model stands where


def in_order(documents: "Iterable[Document[R]]") -> tuple[Document[R], ...]:
    """In the order of namespace and name."""

    def key(document: Document[R]) -> tuple[str, str]:
        metadata = document.model.metadata
        return metadata.namespace, metadata.name

    return tuple(sorted(documents, key=key))
