"""From documents to the snapshot that serves: the one place where every room is put together.

Whose it is stands in `workload.py`, whom that calls in `clusters.py`, who may call it in `admission.py`; here are the
listeners. Pure but for reading the clock of none: no socket is opened, nothing that serves is touched. What does not
change between two generations is the same object in both, so that clusters keep their pools: `Snapshot.places` says
which endpoints a kept cluster is to have, and the server tells it so when it swaps.
"""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from meshd.admission import Admission
from meshd.backend import TOWARD, Backend
from meshd.clusters import Clusters
from meshd.config.documents import Documents
from meshd.config.proxy import Inbound, Outbound, Proxy
from meshd.config.route_parts import SessionPersistence
from meshd.core.chain import Chain
from meshd.core.route import RetryPolicy, Route, Target
from meshd.core.steps import Steps, each, run
from meshd.discovery.known_port import Place
from meshd.filters.buckets import OCTETS, Buckets
from meshd.filters.ext_authz import tell
from meshd.filters.key_ring import KeyRing
from meshd.filters.of_route import chain_of
from meshd.filters.peer_authentication import mode_for
from meshd.filters.persistence import session_chain
from meshd.http.forwarding import Forwarding
from meshd.http.owned import OwnedFields
from meshd.http.path_rules import PathRules
from meshd.identity.credentials import Credentials
from meshd.memory import Memory, ServiceTable
from meshd.net import wait
from meshd.net.dial import Dialler
from meshd.net.sweep import Sweeper
from meshd.net.tls import Mode, TlsIdentity
from meshd.routing.http_routes import Defaults, Parent, World, building_table
from meshd.routing.matcher import Match
from meshd.routing.route_index import RouteIndex
from meshd.routing.table import Candidate, RouteTable
from meshd.snapshot import Plan, Snapshot
from meshd.unserved import refuse_unserved
from meshd.upstream.cluster import ClusterSettings, Protocol
from meshd.upstream.pool import PoolSettings
from meshd.workload import ROOT_NAMESPACE, Shared, Workload

ANY_PATH = Match("PathPrefix", b"", (), (0, 0, 0, 0, 0))
HTTP = ("http", "http2", "grpc")
UNSERVED = {"tcp", "tls"}  # protocols that a listener cannot speak yet
TOWARD_APP: Mapping[str, Protocol] = {**TOWARD, "http": "http1"}

# Toward our own app on this machine: no mesh, few surprises, so a broken connection is all that is tried again.
APP_RETRY = RetryPolicy(safe_only=frozenset({"reset"}))


def compile_snapshot(
    proxy: Proxy,
    documents: Documents,
    credentials: Credentials | None,
    previous: Snapshot | None,
    *,
    chance: Random | None = None,
    shared: Shared | None = None,
) -> Snapshot:
    """The world of this generation. Raises ConfigError; `previous` is left as it is.

    One that is only asked and never serves brings its own `chance` and needs no certificates. Workers give what
    outlives a generation.
    """
    refuse_unserved(documents)
    memory = Memory(chance)
    shared = shared or Shared(Buckets(bytearray(OCTETS)), KeyRing())
    workload = Workload(proxy, documents, memory.random, shared)
    return run(compiling(workload, credentials, previous, memory, needs_identity=chance is None))


def compiling(
    workload: Workload,
    credentials: Credentials | None,
    previous: Snapshot | None,
    memory: Memory,
    *,
    needs_identity: bool = True,
) -> Steps[Snapshot]:
    """The same in steps, of documents that were seen to ask for nothing that is not supported."""
    memory.begin()
    compiler = _Compiler(workload, credentials, previous, memory)
    compiler.needs_identity = needs_identity
    snapshot = yield from compiler.snapshot()
    yield from memory.ending()
    return snapshot


class _Compiler:
    __slots__ = (
        "_admission",
        "_clusters",
        "_dialler",
        "_identity",
        "_memory",
        "_previous",
        "_routes",
        "_workload",
        "needs_identity",
    )

    def __init__(
        self, workload: Workload, credentials: Credentials | None, previous: Snapshot | None, memory: Memory
    ) -> None:
        self._workload = workload
        self._previous = previous
        self._memory = memory
        if previous is not None and previous.identity is not None and previous.identity.credentials is credentials:
            self._identity: TlsIdentity | None = previous.identity
        else:
            self._identity = TlsIdentity(credentials) if credentials is not None else None
        self._dialler = previous.dialler if previous is not None else Dialler(Sweeper(), self._identity)
        self._clusters = Clusters(workload, self._dialler, previous, memory)
        self._admission = Admission(workload, self._clusters, memory)
        self._routes = RouteIndex()
        self.needs_identity = True

    def snapshot(self) -> Steps[Snapshot]:
        """Put it together."""
        spec, documents = self._workload.proxy.spec, self._workload.documents
        yield from self._clusters.read()
        if spec.outbound:
            yield from self._clusters.add_services()
        plans = {}
        for place, inbound in enumerate(spec.inbound):
            plans[f"inbound-{place}"] = yield from self._inbound(place, inbound)
        services: dict[bytes, RouteTable] = {}
        if spec.outbound:
            yield from each(documents.http_routes, lambda found: self._routes.add(found.model))
            yield from each(documents.grpc_routes, lambda found: self._routes.add(found.model))
            services = yield from self._services()
        for place, outbound in enumerate(spec.outbound):
            plans[f"outbound-{place}"] = yield from self._outbound(place, outbound, services)
        return Snapshot(
            generation=self._previous.generation + 1 if self._previous is not None else 1,
            plans=plans,
            clusters=self._clusters.built,
            places=self._clusters.places,
            identity=self._identity,
            dialler=self._dialler,
        )

    # -- toward services -----------------------------------------------------------------------------------------

    def _services(self) -> Steps[dict[bytes, RouteTable]]:
        tables: dict[bytes, RouteTable] = {}
        for backend in self._clusters.backends.values():
            if backend.known.protocol not in HTTP:
                continue
            made = yield from self._table(backend)
            tables.update(dict.fromkeys(made.authorities, made.table))
            yield
        return tables

    def _opaque(self) -> dict[bytes, str]:
        """The clusters of services that speak something else, which only CONNECT reaches."""
        known = [backend.known for backend in self._clusters.backends.values()]
        others = [each for each in known if each.protocol not in HTTP]
        return {name.encode(): each.cluster for each in others for name in each.authorities()}

    def _table(self, backend: Backend) -> Steps[ServiceTable]:
        known = backend.known
        parent = Parent(known.kind, known.namespace, known.name, known.port, known.port_name)
        routes = self._routes.find(parent)
        inputs, tables, find = (backend, *routes), self._memory.tables, self._clusters.find
        made = tables.find(known.title, inputs)
        if made is not None and all(find(*asked) == cluster for asked, cluster in made.found):
            return made
        found: dict[tuple[str, str, int], str] = {}

        def finding(kind: str, name: str, port: int) -> str:
            cluster = found[kind, name, port] = find(kind, name, port)
            return cluster

        world = World(finding, chain_of, self._session_chain)
        defaults = Defaults(backend.route, known.cluster)
        table = yield from building_table(parent, routes, self._workload.proxy.namespace, defaults, world)
        authorities = tuple(name.encode() for name in known.authorities())
        made = ServiceTable(table, authorities, tuple(found.items()))
        # What keeps sessions looks at the clusters of this very generation, so it is made anew in each.
        keeps_sessions = any(rule.session_persistence is not None for route in routes for rule in route.spec.rules)
        return made if keeps_sessions else tables.keep(known.title, inputs, made)

    def _session_chain(self, document: SessionPersistence, rule: str, clusters: tuple[str, ...]) -> Chain:
        served = self._clusters.built
        return session_chain(document, rule, clusters, lambda name: served[name].endpoints, wait.wall_clock)

    def _outbound(self, place: int, outbound: Outbound, services: Mapping[bytes, RouteTable]) -> Steps[Plan]:
        name = f"outbound-{place}"
        self._refuse_unserved(outbound.protocol, f"outbound[{place}]")
        fixed, tcp_cluster = None, ""
        if outbound.service is not None:
            backend = self._named(outbound.service.host, outbound.service.port, f"spec.outbound[{place}].service")
            made = yield from self._table(backend)
            fixed, tcp_cluster = made.table, backend.known.cluster
        return Plan(
            name=name,
            inbound=False,
            protocol=outbound.protocol,
            mode=Mode.DISABLE,
            proxy_name=self._workload.name,
            forwarding=Forwarding(inbound=False, pseudonym=self._workload.name + b"-out"),
            paths=self._paths(inbound=False),
            clusters=self._clusters.built,
            services=services,
            opaque=self._opaque(),
            fixed=fixed,
            tcp_cluster=tcp_cluster,
            quick_ack=outbound.quick_ack,
        )

    def _named(self, host: str, port: int, field: str) -> Backend:
        wanted = f"{host.lower()}:{port}"
        found = self._clusters.named(wanted)
        if found is not None:
            return self._clusters.backends[found.cluster]
        known = sorted({f"{each.known.hosts[0]}:{each.known.port}" for each in self._clusters.backends.values()})
        raise self._workload.mistake(
            field, wanted, f"expected the name and port of a known service: {', '.join(known) or 'there is none'}"
        )

    # -- toward the app ------------------------------------------------------------------------------------------

    def _inbound(self, place: int, inbound: Inbound) -> Steps[Plan]:
        name = f"inbound-{place}"
        self._refuse_unserved(inbound.protocol, f"inbound[{place}]")
        metadata = self._workload.proxy.metadata
        policies = [each.model for each in self._workload.documents.peer_authentications]
        port = inbound.app.port or inbound.listen.port
        mode = Mode[mode_for(policies, metadata.namespace, metadata.labels, ROOT_NAMESPACE, port)]
        if mode is not Mode.DISABLE and self._identity is None and self.needs_identity:
            expected = f"a certificate source, for PeerAuthentication asks for mutual TLS here ({mode.name})"
            raise self._workload.mistake("spec.identity", "nothing", expected)
        cluster = f"app:{inbound.app}"
        warm = inbound.warm
        settings = ClusterSettings(
            pool=PoolSettings(warm=warm.min, eager=warm.mode == "eager"),
            warm_plain=warm.min,
            protocol=TOWARD_APP.get(inbound.protocol, "auto"),
            quick_ack=inbound.quick_ack,
        )
        if cluster in self._clusters.built and self._clusters.built[cluster].settings != settings:
            cluster = f"{cluster}/{name}"  # two ways to the same app
        self._clusters.add(cluster, (Place(inbound.app.host, inbound.app.port),), settings)
        scope = self._workload.scope(port)
        yield from self._admission.read(scope)
        gate = self._admission.gate(scope)
        yield
        route = Route(
            cluster,
            template="/*",
            targets=(Target(cluster),),
            total_weight=1,
            retry=APP_RETRY,
        )
        if gate is not None:
            route = replace(route, chain=Chain((), (tell,)))
        chain = yield from self._admission.chain(scope)
        yield
        return Plan(
            name=name,
            inbound=True,
            protocol=inbound.protocol,
            mode=mode,
            proxy_name=self._workload.name,
            forwarding=Forwarding(
                inbound=True,
                pseudonym=self._workload.name + b"-in",
                uri=self._workload.proxy.spiffe_id.encode(),
                owned=OwnedFields(self._admission.written_fields(scope)),
                trusted_proxies=self._workload.proxy.spec.num_trusted_proxies or 0,
            ),
            clusters=self._clusters.built,
            services={},
            fixed=RouteTable([Candidate(ANY_PATH, 0, route)]),
            tcp_cluster=cluster,
            quick_ack=inbound.quick_ack,
            paths=self._paths(inbound=True),
            gate=gate,
            chain=chain if gate is not None else self._admission.tokens(scope) + chain,
        )

    def _paths(self, *, inbound: bool) -> PathRules:
        given = self._workload.proxy.spec.path_normalization
        return PathRules(given.normalization, strict=given.strict, inbound=inbound)

    def _refuse_unserved(self, protocol: str, field: str) -> None:
        if protocol in UNSERVED:
            raise self._workload.mistake(
                f"spec.{field}.protocol",
                protocol,
                "expected one of auto, http, http2, grpc: no other is served yet",
            )
