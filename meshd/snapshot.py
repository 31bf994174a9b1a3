"""The compiled world of one generation: immutable, swapped by one reference, shared by every exchange that began in
it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.discovery.known_port import Place
from meshd.filters.ext_authz import Gate
from meshd.http.forwarding import Forwarding
from meshd.http.path_rules import AS_THEY_COME, PathRules
from meshd.net.dial import Dialler
from meshd.net.tls import Mode, TlsIdentity
from meshd.routing.table import RouteTable
from meshd.upstream.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Plan:
    """What one listener does with what comes in."""

    name: str
    inbound: bool
    protocol: str  # auto, http, http2, grpc, tcp or tls
    mode: Mode
    proxy_name: bytes  # how this sidecar calls itself in Proxy-Status, such as b"orders.default"
    forwarding: Forwarding
    clusters: Mapping[str, Cluster]
    services: Mapping[bytes, RouteTable]  # outbound: by authority, every name and port a service is known by
    fixed: RouteTable | None = None  # inbound, or a port that is one service's own: whatever the authority says
    opaque: Mapping[bytes, str] = field(default_factory=dict)  # outbound: clusters of services that speak no HTTP
    tcp_cluster: str = ""  # where raw connections of this listener go
    gate: Gate | None = None  # inbound: authorizers outside, asked before everything else
    quick_ack: bool = True  # acknowledge at once what a client without TLS has sent of an unfinished request
    paths: PathRules = AS_THEY_COME
    chain: Chain = EMPTY_CHAIN  # run before routing; inbound: who may do what

    def table(self, authority: bytes) -> RouteTable | None:
        """The routes of the service that `authority` names; None when nobody knows it."""
        if self.fixed is not None:
            return self.fixed
        found = self.services.get(authority)
        return found if found is not None else self._rare(authority)

    def _rare(self, authority: bytes) -> RouteTable | None:
        """A name with the dot of the root, or a service known as `*.example.com`; the longest suffix wins."""
        host, colon, port = authority.partition(b":")
        if host.endswith(b"."):
            return self.table(host[:-1] + colon + port)
        rest = authority
        while b"." in rest:
            rest = rest.partition(b".")[2]
            if (found := self.services.get(b"*." + rest)) is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every plan of one worker, by listener name, and what they share."""

    generation: int
    plans: Mapping[str, Plan]
    clusters: Mapping[str, Cluster]
    places: Mapping[str, tuple[Place, ...]]  # the endpoints that each cluster is to have once this snapshot serves
    identity: TlsIdentity | None
    dialler: Dialler

    def __repr__(self) -> str:
        return f"<Snapshot {self.generation}: {len(self.plans)} listeners, {len(self.clusters)} clusters>"
