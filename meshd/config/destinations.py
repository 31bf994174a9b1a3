"""What the documents say exists: Services and ServiceEntries by name, host and port. For checks, not for traffic."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshd.config.documents import Documents
from meshd.config.hints import Hints
from meshd.config.references import ISTIO_NETWORKING_GROUP, OUR_GROUP, BackendObjectRef

HOST_SUFFIX = ".svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Destinations:
    """Ports by namespace and name for Services and ServiceEntries, and by host for the latter. Ports map to names."""

    services: Mapping[tuple[str, str], Mapping[int, str]]
    entries: Mapping[tuple[str, str], Mapping[int, str]]
    hosts: Mapping[str, Mapping[int, str]]
    subsets: frozenset[str] = frozenset()  # every name that a DestinationRule gives
    by_namespace: Mapping[str, list[str]] = field(default_factory=dict)  # names of Services
    by_name: Mapping[str, str] = field(default_factory=dict)  # the first namespace with a Service of this name
    hints: Hints = field(default_factory=Hints, compare=False)

    @staticmethod
    def of(documents: Documents) -> "Destinations":
        """The index of these documents."""
        services = {
            (each.model.namespace, each.model.name): {port.port: port.name for port in each.model.spec.ports}
            for each in documents.services
        }
        entries: dict[tuple[str, str], Mapping[int, str]] = {}
        hosts: dict[str, Mapping[int, str]] = {}
        for entry in documents.service_entries:
            ports = {port.number: port.name for port in entry.model.spec.ports}
            entries[entry.model.namespace, entry.model.name] = ports
            hosts.update(dict.fromkeys((host.lower().rstrip(".") for host in entry.model.spec.hosts), ports))
        subsets = frozenset(part.name for each in documents.destination_rules for part in each.model.spec.subsets)
        by_namespace: dict[str, list[str]] = {}
        by_name: dict[str, str] = {}
        for namespace, name in services:
            by_namespace.setdefault(namespace, []).append(name)
            by_name.setdefault(name, namespace)
        return Destinations(services, entries, hosts, subsets, by_namespace, by_name)

    def of_reference(self, ref: BackendObjectRef, namespace: str) -> Mapping[int, str] | None:
        """The ports of what a route sends to; None when it does not exist."""
        key = (ref.namespace or namespace, ref.name)
        if ref.is_service:
            return self.services.get(key)
        if ref.group == OUR_GROUP and ref.kind == "Subset":
            service, _, subset = ref.name.rpartition(".")
            key = (key[0], service)
            return (self.services.get(key) or self.entries.get(key)) if subset in self.subsets else None
        if ref.group == ISTIO_NETWORKING_GROUP:
            return self.entries.get(key) if ref.kind == "ServiceEntry" else self.of_host(ref.name, namespace)
        return None

    def of_host(self, host: str, namespace: str) -> Mapping[int, str] | None:
        """The ports of a host as DestinationRules and outbound listeners name it: short, `name.namespace`, or whole."""
        host = host.lower().rstrip(".")
        if host in self.hosts:
            return self.hosts[host]
        name, _, rest = host.removesuffix(HOST_SUFFIX).removesuffix(".svc").partition(".")
        if "." not in rest and (rest or namespace, name) in self.services:
            return self.services[rest or namespace, name]
        wild = "*." + host.partition(".")[2]
        return self.hosts.get(wild)

    def nearest(self, name: str, namespace: str) -> str:
        """A Service of the namespace that may be meant, or the namespace that has one of this name."""
        hint = self.hints.nearest(name, self.by_namespace.get(namespace, []))
        if hint:
            return hint
        elsewhere = self.by_name.get(name)
        return f"there is one in namespace {elsewhere!r}" if elsewhere else ""
