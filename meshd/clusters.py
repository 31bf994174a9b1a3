"""The clusters of one generation: those of every service port that is called, of the app, and of authorizers outside.

One whose settings have not changed is the object that the generation before had, so that it keeps its pools; `places`
says which endpoints it is to have.

Theory of operation: policies, rules and slices stand in indexes by the service they are about, so that a service looks
at its own alone and the whole is linear. What is made of a service is made again only when something it is made of is
another object than before (`reuse.py`).
"""

from collections.abc import Sequence

from meshd.backend import Backend, backend_of, policy_for
from meshd.config.backend_policy import BackendPolicy
from meshd.config.destination_rule import DestinationRule
from meshd.config.documents import Document
from meshd.config.fault_policy import FaultPolicy
from meshd.config.rate_limit_policy import RateLimitPolicy
from meshd.config.request_policy import RequestPolicy
from meshd.config.service import EndpointSlice, Service
from meshd.config.service_entry import ServiceEntry
from meshd.core.chain import Chain
from meshd.core.steps import Steps, each
from meshd.destination_rules import RulesByHost, places_of, places_under, rule_for, settings_under, treatment
from meshd.discovery.identities import expected_of, identified
from meshd.discovery.known_port import KnownPort, Place
from meshd.discovery.static import ports_of_entry, ports_of_service
from meshd.filters.attachment import TargetIndex, of_service
from meshd.filters.fault import fault_chain
from meshd.filters.rate_limit import rate_limit_chain
from meshd.filters.request import request_chain
from meshd.http.limits import RESPONSE_LIMITS, Limits
from meshd.memory import Destination, Memory
from meshd.net.dial import Dialler
from meshd.routing.policy_match import compile_policy_match
from meshd.snapshot import Snapshot
from meshd.upstream.cluster import Cluster, ClusterSettings
from meshd.upstream.connector import Connector
from meshd.workload import Workload


class Clusters:
    """Filled while a snapshot is compiled: `read` first, then `add_services`."""

    __slots__ = (
        "_by_authority",
        "_by_name",
        "_dialler",
        "_faults",
        "_heads",
        "_known",
        "_limits",
        "_memory",
        "_policies",
        "_previous",
        "_requests",
        "_rules",
        "_slices",
        "_workload",
        "backends",
        "built",
        "places",
    )

    def __init__(self, workload: Workload, dialler: Dialler, previous: Snapshot | None, memory: Memory) -> None:
        self._workload = workload
        self._dialler = dialler
        self._previous = previous
        self._memory = memory
        heads = workload.proxy.spec.max_response_headers
        self._heads = Limits(heads.size, RESPONSE_LIMITS.line, heads.count)
        self._by_name: dict[tuple[str, str, int], str] = {}
        self._by_authority: dict[str, KnownPort] | None = None  # made when somebody asks
        self._known: list[KnownPort] = []
        self._slices: dict[tuple[str, str], list[EndpointSlice]] = {}
        self._policies: TargetIndex[BackendPolicy] = TargetIndex()
        self._limits: TargetIndex[RateLimitPolicy] = TargetIndex()
        self._requests: TargetIndex[RequestPolicy] = TargetIndex()
        self._faults: TargetIndex[FaultPolicy] = TargetIndex()
        self._rules = RulesByHost()
        self.backends: dict[str, Backend] = {}  # of all services that are called, by the names of their clusters
        self.built: dict[str, Cluster] = {}
        self.places: dict[str, tuple[Place, ...]] = {}

    # -- what there is -----------------------------------------------------------------------------------------------

    def read(self) -> Steps[None]:
        """Put every document where the service that it is about will find it, and list the service ports."""
        documents = self._workload.documents
        yield from each(documents.endpoint_slices, self._add_slice)
        yield from each(documents.backend_policies, lambda found: self._policies.add(found.model))
        yield from each(documents.rate_limit_policies, lambda found: self._limits.add(found.model))
        yield from each(documents.request_policies, lambda found: self._requests.add(found.model))
        yield from each(documents.fault_policies, lambda found: self._faults.add(found.model))
        yield from each(documents.destination_rules, lambda found: self._rules.add(found.model))
        yield from each(documents.services, self._add_ports)
        yield from each(documents.service_entries, self._add_entry_ports)

    def _add_slice(self, found: Document[EndpointSlice]) -> None:
        self._slices.setdefault((found.model.namespace, found.model.service), []).append(found.model)

    def _add_ports(self, found: Document[Service]) -> None:
        service, ports = found.model, self._memory.ports
        slices = self._slices.get((service.namespace, service.name), ())
        name, inputs = f"Service {service.namespace}/{service.name}", (service, *slices)
        known = ports.find(name, inputs)
        if known is None:
            made = ports_of_service(service, slices, self._workload.trust_domain, self._workload.proxy.namespace)
            known = ports.keep(name, inputs, tuple(made))
        self._known += known

    def _add_entry_ports(self, found: Document[ServiceEntry]) -> None:
        entry, ports = found.model, self._memory.ports
        name, inputs = f"ServiceEntry {entry.namespace}/{entry.name}", (entry,)
        known = ports.find(name, inputs)
        if known is None:
            known = ports.keep(name, inputs, tuple(ports_of_entry(entry, self._workload.trust_domain)))
        self._known += known

    def named(self, authority: str) -> KnownPort | None:
        """The service port of this host and port; None when there is none."""
        if self._by_authority is None:
            self._by_authority = {}
            for known in self._known:
                for name in known.authorities():
                    self._by_authority.setdefault(name, known)
        return self._by_authority.get(authority)

    # -- clusters ----------------------------------------------------------------------------------------------------

    def add_services(self) -> Steps[None]:
        """Everything that there is."""
        for known in self._known:
            backend = self.backends[known.cluster] = self._backend(known)
            self._add_destination(backend)
            yield

    def add_service(self, authority: str) -> str:
        """The one of this host and port, which need not be in use elsewhere: its cluster, empty if there is none."""
        known = self.named(authority)
        if known is None:
            return ""
        if known.cluster not in self.built:
            self._add_destination(self._backend(known))
        return known.cluster

    def _backend(self, known: KnownPort) -> Backend:
        here = known.kind, known.namespace, known.name
        policies, limits = self._policies.find(*here), self._limits.find(*here)
        requests, faults = self._requests.find(*here), self._faults.find(*here)
        drawn = (self._workload.shared.buckets if limits else None, self._workload.random if faults else None)
        inputs = (known, *drawn, *policies, *limits, *requests, *faults)
        backends = self._memory.backends
        backend = backends.find(known.title, inputs)
        if backend is None:
            policy = policy_for(known, policies)
            chain = self._service_chain(known, limits, requests, faults)
            backend = backends.keep(known.title, inputs, backend_of(known, policy, chain, self._sticky(policy)))
        return backend

    def _service_chain(
        self,
        known: KnownPort,
        limits: Sequence[RateLimitPolicy],
        requests: Sequence[RequestPolicy],
        faults: Sequence[FaultPolicy],
    ) -> Chain:
        """What policies of ours do to every call of this service, before the filters of its routes."""
        here = (known.kind, known.namespace, known.name, known.port)
        return (
            rate_limit_chain(
                of_service(limits, *here), known.cluster, compile_policy_match, self._workload.shared.buckets
            )
            + request_chain(of_service(requests, *here), compile_policy_match)
            + fault_chain(of_service(faults, *here), compile_policy_match, self._workload.random)
        )

    def _sticky(self, policy: BackendPolicy | None) -> str:
        """The caller of what goes out here is always this workload."""
        by = (policy.spec.sticky_split if policy is not None else "") or ""
        return f"key:{self._workload.proxy.spiffe_id or self._workload.name.decode()}" if by == "principal" else by

    def _add_destination(self, backend: Backend) -> None:
        """The cluster of a service port, as its DestinationRule wants it, and one for each of the rule's subsets."""
        known = backend.known
        rule = rule_for(self._rules.find(known), known, self._workload.caller)
        inputs, destinations = (backend, rule), self._memory.destinations
        made = destinations.find(known.title, inputs)
        if made is None:
            made = destinations.keep(known.title, inputs, destinations_of(backend, rule, self._workload.trust_domain))
        for each_one in made:
            self.add(each_one.name, each_one.places, each_one.settings)
            self._index(known, each_one.name, each_one.subset)

    def add(self, name: str, places: tuple[Place, ...], settings: ClusterSettings) -> None:
        """A cluster of these places: that of the generation before, if its settings are the same."""
        before = self._previous.clusters.get(name) if self._previous is not None else None
        if before is not None and (before.settings is settings or before.settings == settings):
            self.built[name] = before
        else:
            quick_ack, heads = settings.quick_ack, self._heads
            connect = Connector(self._dialler, settings.connect_timeout, quick_ack=quick_ack, heads=heads)
            endpoints, workload = [each.endpoint() for each in places], self._workload
            self.built[name] = Cluster(name, endpoints, connect, settings, workload.random, workload.shared.ledger)
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


def destinations_of(backend: Backend, rule: DestinationRule | None, trust_domain: str) -> tuple[Destination, ...]:
    """The clusters of a service port under the one rule that acts on it: the whole, then the subsets."""
    known = backend.known
    expected = expected_of(known, trust_domain, backend.peer_identity)
    whole = treatment(rule, known.port)
    settings = settings_under(whole, backend.settings)
    made = [Destination(known.cluster, "", identified(places_under(whole, known.places), expected), settings)]
    for subset in rule.spec.subsets if rule is not None else ():
        given = treatment(rule, known.port, subset)
        places = identified(places_under(given, places_of(subset, known.places)), expected)
        settings = settings_under(given, backend.settings)
        made.append(Destination(f"{known.cluster}/{subset.name}", subset.name, places, settings))
    return tuple(made)
