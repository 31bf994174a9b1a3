"""The clusters of one generation: those of every service port that is called, of the app, and of authorizers outside.

One whose settings have not changed is the object that the generation before had, so that it keeps its pools; `places`
says which endpoints it is to have.
"""

from collections.abc import Iterator

from meshd.backend import Backend, backend_of, policy_for
from meshd.config.backend_policy import BackendPolicy
from meshd.core.chain import Chain
from meshd.destination_rules import places_of, places_under, rule_for, settings_under, treatment
from meshd.discovery.known_port import KnownPort, Place
from meshd.discovery.static import entry_ports, service_ports
from meshd.filters.attachment import of_service
from meshd.filters.fault import fault_chain
from meshd.filters.rate_limit import rate_limit_chain
from meshd.filters.request import request_chain
from meshd.net.dial import Dialler
from meshd.routing.matcher import compile_policy_match
from meshd.snapshot import Snapshot
from meshd.upstream.cluster import Cluster, ClusterSettings
from meshd.upstream.connector import Connector
from meshd.workload import Workload


class Clusters:
    """Filled while a snapshot is compiled."""

    __slots__ = ("_by_name", "_dialler", "_previous", "_workload", "backends", "built", "places")

    def __init__(self, workload: Workload, dialler: Dialler, previous: Snapshot | None) -> None:
        self._workload = workload
        self._dialler = dialler
        self._previous = previous
        self._by_name: dict[tuple[str, str, int], str] = {}
        self.backends: dict[str, Backend] = {}  # of all services that are called, by the names of their clusters
        self.built: dict[str, Cluster] = {}
        self.places: dict[str, tuple[Place, ...]] = {}

    def add_services(self) -> None:
        """Everything that there is."""
        for known in self.known_ports():
            backend = self.backends[known.cluster] = self._backend(known)
            self.add_destination(backend)

    def add_service(self, authority: str) -> str:
        """The one of this host and port, which need not be in use elsewhere: its cluster, empty if there is none."""
        for known in self.known_ports():
            if authority in known.authorities():
                if known.cluster not in self.built:
                    self.add_destination(self._backend(known))
                return known.cluster
        return ""

    def known_ports(self) -> Iterator[KnownPort]:
        """Every port of every service that there is."""
        documents, trust_domain = self._workload.documents, self._workload.trust_domain
        services = [each.model for each in documents.services]
        slices = [each.model for each in documents.endpoint_slices]
        yield from service_ports(services, slices, trust_domain, self._workload.proxy.namespace)
        yield from entry_ports([each.model for each in documents.service_entries], trust_domain)

    def _backend(self, known: KnownPort) -> Backend:
        policy = policy_for(known, [each.model for each in self._workload.documents.backend_policies])
        return backend_of(known, policy, self._service_chain(known), self._sticky(policy))

    def _service_chain(self, known: KnownPort) -> Chain:
        """What policies of ours do to every call of this service, before the filters of its routes."""
        documents, here = self._workload.documents, (known.kind, known.namespace, known.name, known.port)
        limits = of_service([each.model for each in documents.rate_limit_policies], *here)
        requests = of_service([each.model for each in documents.request_policies], *here)
        faults = of_service([each.model for each in documents.fault_policies], *here)
        return (
            rate_limit_chain(limits, known.cluster, compile_policy_match, self._workload.shared.buckets)
            + request_chain(requests, compile_policy_match)
            + fault_chain(faults, compile_policy_match, self._workload.random)
        )

    def _sticky(self, policy: BackendPolicy | None) -> str:
        """The caller of what goes out here is always this workload."""
        by = (policy.spec.sticky_split if policy is not None else "") or ""
        return f"key:{self._workload.proxy.spiffe_id or self._workload.name.decode()}" if by == "principal" else by

    def add_destination(self, backend: Backend) -> None:
        """The cluster of a service port, as its DestinationRule wants it, and one for each of the rule's subsets."""
        known = backend.known
        rule = rule_for(
            [each.model for each in self._workload.documents.destination_rules], known, self._workload.caller
        )
        whole = treatment(rule, known.port)
        self.add(known.cluster, places_under(whole, known.places), settings_under(whole, backend.settings))
        self._index(known, known.cluster, "")
        for subset in rule.spec.subsets if rule is not None else ():
            given = treatment(rule, known.port, subset)
            name = f"{known.cluster}/{subset.name}"
            places = places_under(given, places_of(subset, known.places))
            self.add(name, places, settings_under(given, backend.settings))
            self._index(known, name, subset.name)

    def add(self, name: str, places: tuple[Place, ...], settings: ClusterSettings) -> None:
        """A cluster of these places: that of the generation before, if its settings are the same."""
        before = self._previous.clusters.get(name) if self._previous is not None else None
        if before is not None and before.settings == settings:
            self.built[name] = before
        else:
            connect = Connector(self._dialler, settings.connect_timeout)
            self.built[name] = Cluster(
                name, [each.endpoint() for each in places], connect, settings, self._workload.random
            )
        self.places[name] = places

    def find(self, kind: str, name: str, port: int) -> str:
        """The cluster a backendRef means; empty when there is none, which answers 500."""
        return self._by_name.get((kind, name, port), "")

    def _index(self, known: KnownPort, cluster: str, subset: str) -> None:
        """Note every name that a backendRef may call the cluster by."""
        named = f"{known.namespace}/{known.name}"
        names = [(known.kind, named), *(("Hostname", host.lower()) for host in known.hosts)]
        for kind, name in [("Subset", f"{named}.{subset}")] if subset else names:
            self._by_name[kind, name, known.port] = cluster
            if known.only_port:
                self._by_name[kind, name, 0] = cluster

    def __repr__(self) -> str:
        return f"<Clusters {', '.join(self.built)}>"
