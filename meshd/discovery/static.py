"""Services as documents describe them: Service with EndpointSlices, and ServiceEntry.

What is in the mesh is dialled with mutual TLS: the endpoints of a Service, unless its slice is labelled
`security.istio.io/tlsMode: disabled`, and of a ServiceEntry whose location is MESH_INTERNAL. Whom they must prove to be
comes from `subjectAltNames` and `serviceAccount`, or for a Service from the annotation `meshd.dev/service-accounts`;
without either the convention of `identities.py` holds.
"""

from collections.abc import Iterable, Iterator

from meshd.config.address import ip_version, is_host
from meshd.config.service import EndpointSlice, Service, ServicePort
from meshd.config.service_entry import EntryPort, ServiceEntry, WorkloadEntry
from meshd.discovery.known_port import KnownPort, Place, protocol_of

TLS_MODE_LABEL = "security.istio.io/tlsMode"


def service_ports(
    services: Iterable[Service], slices: Iterable[EndpointSlice], trust_domain: str, own_namespace: str
) -> Iterator[KnownPort]:
    """Every TCP port of every Service."""
    by_service: dict[tuple[str, str], list[EndpointSlice]] = {}
    for piece in slices:
        by_service.setdefault((piece.namespace, piece.service), []).append(piece)
    for service in services:
        yield from ports_of_service(
            service, by_service.get((service.namespace, service.name), ()), trust_domain, own_namespace
        )


def ports_of_service(
    service: Service, slices: Iterable[EndpointSlice], trust_domain: str, own_namespace: str
) -> Iterator[KnownPort]:
    """Every TCP port of one Service; `slices` are its own."""
    ports = [port for port in service.spec.ports if port.protocol == "TCP"]
    accounts = _accounts(service, trust_domain)
    hosts = _service_hosts(service, own_namespace)
    for port in ports:
        yield KnownPort(
            kind="Service",
            namespace=service.namespace,
            name=service.name,
            port=port.port,
            port_name=port.name,
            protocol=protocol_of(port.name, port.app_protocol),
            hosts=hosts,
            only_port=len(ports) == 1,
            places=_service_places(service, port, slices, accounts),
        )


def entry_ports(entries: Iterable[ServiceEntry], trust_domain: str) -> Iterator[KnownPort]:
    """Every port of every ServiceEntry."""
    for entry in entries:
        yield from ports_of_entry(entry, trust_domain)


def ports_of_entry(entry: ServiceEntry, trust_domain: str) -> Iterator[KnownPort]:
    """Every port of one ServiceEntry."""
    for port in entry.spec.ports:
        yield KnownPort(
            kind="ServiceEntry",
            namespace=entry.namespace,
            name=entry.name,
            port=port.number,
            port_name=port.name,
            protocol=protocol_of(port.name, port.protocol.lower()),
            hosts=entry.spec.hosts,
            only_port=len(entry.spec.ports) == 1,
            places=tuple(_entry_places(entry, port, trust_domain)),
        )


def _service_hosts(service: Service, own_namespace: str) -> tuple[str, ...]:
    full = f"{service.name}.{service.namespace}"
    names = (full, f"{full}.svc", f"{full}.svc.cluster.local")
    return (service.name, *names) if service.namespace == own_namespace else names


def _accounts(service: Service, trust_domain: str) -> frozenset[str]:
    return frozenset(f"spiffe://{trust_domain}/ns/{service.namespace}/sa/{name}" for name in service.accounts)


def _service_places(
    service: Service, port: ServicePort, slices: Iterable[EndpointSlice], accounts: frozenset[str]
) -> tuple[Place, ...]:
    """An external name is outside the mesh. An endpoint may be in two slices while it moves: the first counts."""
    if service.spec.type == "ExternalName":
        name = service.spec.external_name
        return (Place(name, _target(port), server_name=_server_name(name), by_address=True),)
    found: dict[tuple[str, int], Place] = {}
    for place in _slice_places(slices, port, accounts):
        found.setdefault((place.address, place.port), place)
    return tuple(found.values())


def _slice_places(slices: Iterable[EndpointSlice], port: ServicePort, accounts: frozenset[str]) -> Iterator[Place]:
    for piece in slices:
        number = _slice_port(piece, port)
        if number is None:
            continue
        mutual = piece.metadata.labels.get(TLS_MODE_LABEL) != "disabled"
        for endpoint in piece.endpoints:
            if endpoint.conditions.ready is False:
                continue
            yield Place(
                endpoint.addresses[0],
                number,
                mutual=mutual,
                identities=accounts,
                server_name=_server_name(f"{piece.service}.{piece.namespace}.svc.cluster.local"),
                labels=tuple(sorted(piece.metadata.labels.items())),
                zone=endpoint.zone or "",
            )


def _slice_port(piece: EndpointSlice, port: ServicePort) -> int | None:
    if piece.ports is None:  # all ports
        return _target(port)
    for candidate in piece.ports:
        if candidate.name == port.name:
            return candidate.port
    return None


def _target(port: ServicePort) -> int:
    return port.target_port if isinstance(port.target_port, int) else port.port


def _entry_places(entry: ServiceEntry, port: EntryPort, trust_domain: str) -> Iterator[Place]:
    mutual = entry.spec.location == "MESH_INTERNAL"
    listed = frozenset(name for name in entry.spec.subject_alt_names if name.startswith("spiffe://"))
    number = port.target_port or port.number
    if not entry.spec.endpoints and entry.spec.resolution in ("DNS", "DNS_ROUND_ROBIN"):
        for host in entry.spec.hosts:
            if not host.startswith("*"):
                yield Place(
                    host,
                    number,
                    mutual=mutual,
                    identities=listed,
                    server_name=_server_name(host),
                    by_address=entry.spec.resolution == "DNS",
                )
    for endpoint in entry.spec.endpoints:
        unix = endpoint.address.startswith("unix://")
        yield Place(
            endpoint.address.removeprefix("unix://"),
            0 if unix else endpoint.ports.get(port.name, number),
            weight=endpoint.weight or 1,
            mutual=mutual,
            identities=_identities(endpoint, entry.namespace, trust_domain) or listed,
            server_name=_server_name(*entry.spec.hosts),
            labels=tuple(sorted(endpoint.labels.items())),
            zone=endpoint.locality,
            by_address=entry.spec.resolution == "DNS",
        )


def _server_name(*hosts: str) -> str:
    """The first that a TLS server can be asked for: by name, which an address is not, and without a dot at the end (RFC
    6066 section 3); empty where there is none. Between sidecars policies may look at it (`connection.sni`), and nothing
    else does: who answers proves to be it by a SPIFFE ID."""
    names = (host.removesuffix(".") for host in hosts if is_host(host) and not ip_version(host))
    return next(names, "")


def _identities(endpoint: WorkloadEntry, namespace: str, trust_domain: str) -> frozenset[str]:
    if not endpoint.service_account:
        return frozenset()
    return frozenset({f"spiffe://{trust_domain}/ns/{namespace}/sa/{endpoint.service_account}"})
