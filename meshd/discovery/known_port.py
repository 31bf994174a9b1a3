"""One port of one service, as the rest of the program knows it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from meshd.core.endpoint import Endpoint, Tls


@dataclass(frozen=True, slots=True)
class Place:
    """Where an endpoint is and who it is; equal places are the same endpoint, so its pool survives a reload."""

    address: str
    port: int
    weight: int = 1
    mutual: bool = False
    identities: frozenset[str] = frozenset()
    server_name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    zone: str = ""
    by_address: bool = False  # a name whose addresses are an endpoint each

    def endpoints(self, known: Callable[[str], tuple[str, ...]]) -> Iterator[Endpoint]:
        """Fresh ones, where a name has several addresses as far as is `known`."""
        addresses = known(self.address) if self.by_address else ()
        if len(addresses) < 2:
            yield self.endpoint()
            return
        for address in sorted(addresses):
            made = replace(self, address=address).endpoint()
            made.host = self.address
            yield made

    def endpoint(self) -> Endpoint:
        """A fresh endpoint at this place."""
        made = Endpoint(self.address, self.port, weight=self.weight, tls=Tls.MUTUAL if self.mutual else Tls.PLAIN)
        made.identities = self.identities
        made.server_name = self.server_name
        made.labels = dict(self.labels)
        made.zone = self.zone
        return made


@dataclass(frozen=True, slots=True)
class KnownPort:
    """A service and one port of it."""

    kind: str  # Service or ServiceEntry
    namespace: str
    name: str  # the name of its document
    port: int
    port_name: str
    protocol: str  # http, http2, grpc, tcp or tls
    hosts: tuple[str, ...]  # every name it goes by, without port; "*.example.com" for a wildcard
    only_port: bool  # the service has no other: the port may be left out of the authority
    places: tuple[Place, ...]

    @property
    def cluster(self) -> str:
        """The name of its cluster: `namespace/service:port`, or `host:port` with the first host of an entry."""
        return f"{self.namespace}/{self.name}:{self.port}" if self.kind == "Service" else f"{self.hosts[0]}:{self.port}"

    @property
    def title(self) -> str:
        """What tells it from every other port of every document."""
        return f"{self.kind} {self.namespace}/{self.name}:{self.port}"

    def authorities(self) -> list[str]:
        """Every authority that means this port."""
        found = [f"{host}:{self.port}" for host in self.hosts]
        if self.port == 80 or self.only_port:
            found += self.hosts
        return [name.lower() for name in found]


def protocol_of(name: str, app_protocol: str | None, default: str = "http") -> str:
    """The protocol of a port: its appProtocol, else the prefix of its name, as Kubernetes and Istio read them."""
    for text in (app_protocol or "", name):
        word = text.lower().removeprefix("kubernetes.io/").split("-", 1)[0]
        if word in KNOWN_PROTOCOLS:
            return KNOWN_PROTOCOLS[word]
    return default


KNOWN_PROTOCOLS = {
    "http": "http",
    "ws": "http",
    "http2": "http2",
    "h2c": "http2",
    "grpc": "grpc",
    "https": "tls",
    "tls": "tls",
    "tcp": "tcp",
    "mongo": "tcp",
    "mysql": "tcp",
    "redis": "tcp",
    "udp": "tcp",
}
