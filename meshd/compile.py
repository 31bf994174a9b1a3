"""From documents to the snapshot that serves: the one place where every room is put together.

Pure but for reading the clock of none: no socket is opened, nothing that serves is touched. What does not change
between two generations is the same object in both, so that clusters keep their pools: `Snapshot.places` says which
endpoints a kept cluster is to have, and the server tells it so when it swaps.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from time import time

from meshd.config.authorization import AuthorizationPolicy
from meshd.config.backend_policy import BackendPolicy
from meshd.config.documents import Documents
from meshd.config.errors import ConfigError, Problem
from meshd.config.extension_provider import ExtensionProvider
from meshd.config.proxy import Inbound, Outbound, Proxy
from meshd.config.route_parts import SessionPersistence
from meshd.core.chain import Chain
from meshd.core.route import RetryPolicy, Route, Target
from meshd.destination_rules import Caller, places_of, places_under, rule_for, settings_under, treatment
from meshd.discovery.known_port import KnownPort, Place
from meshd.discovery.static import entry_ports, service_ports
from meshd.filters.attachment import of_service, of_workload
from meshd.filters.authz import Entry, authorization_chain, index_rules, selects
from meshd.filters.authz_rules import claim_path
from meshd.filters.base import Scope
from meshd.filters.buckets import OCTETS, Buckets
from meshd.filters.ext_authz import Check, Gate, compile_asking, tell
from meshd.filters.ext_authz_grpc import GrpcCheck
from meshd.filters.ext_authz_http import compile_http_check
from meshd.filters.fault import fault_chain
from meshd.filters.jwt import authentication_chain
from meshd.filters.of_route import chain_of
from meshd.filters.peer_authentication import mode_for
from meshd.filters.persistence import session_chain
from meshd.filters.rate_limit import rate_limit_chain
from meshd.filters.request import request_chain
from meshd.filters.rule_index import RuleIndex
from meshd.http.forwarding import Forwarding
from meshd.identity.credentials import Credentials
from meshd.net import wait
from meshd.net.dial import Dialler
from meshd.net.sweep import Sweeper
from meshd.net.tls import Mode, TlsIdentity
from meshd.routing.http_routes import AnyRoute, Defaults, Parent, World, build_table
from meshd.routing.matcher import Match, compile_policy_match
from meshd.routing.table import Candidate, RouteTable
from meshd.snapshot import Plan, Snapshot
from meshd.unserved import refuse_unserved
from meshd.upstream.cluster import Cluster, ClusterSettings, Protocol
from meshd.upstream.connector import Connector
from meshd.upstream.pool import PoolSettings

ROOT_NAMESPACE = "istio-system"
ANY_PATH = Match("PathPrefix", b"", (), (0, 0, 0, 0, 0))
UNSERVED = {"tcp", "tls"}  # protocols that a listener cannot speak yet
# What is spoken toward an app or a service by the protocol that is declared for it; else see `Cluster.pool`.
TOWARD: Mapping[str, Protocol] = {"http2": "http2", "grpc": "http2"}
TOWARD_APP: Mapping[str, Protocol] = {**TOWARD, "http": "http1"}


def compile_snapshot(
    proxy: Proxy,
    documents: Documents,
    credentials: Credentials | None,
    previous: Snapshot | None,
    *,
    chance: Random | None = None,
    buckets: Buckets | None = None,
) -> Snapshot:
    """The world of this generation. Raises ConfigError; `previous` is left as it is.

    One that is only asked and never serves brings its own `chance` and needs no certificates. Workers give the
    `buckets` of rate limits, which they share with each other and from generation to generation.
    """
    compiler = _Compiler(proxy, documents, credentials, previous)
    if chance is not None:
        compiler.random, compiler.needs_identity = chance, False
    compiler.buckets = buckets or compiler.buckets
    return compiler.snapshot()


@dataclass(frozen=True, slots=True)
class _Backend:
    """One service port with what its BackendPolicy says."""

    known: KnownPort
    settings: ClusterSettings
    route: Route


class _Compiler:
    __slots__ = (
        "_backends",
        "_by_name",
        "_clusters",
        "_dialler",
        "_documents",
        "_identity",
        "_places",
        "_previous",
        "_proxy",
        "buckets",
        "needs_identity",
        "random",
    )

    def __init__(
        self, proxy: Proxy, documents: Documents, credentials: Credentials | None, previous: Snapshot | None
    ) -> None:
        self._proxy = proxy
        self._documents = documents
        self._previous = previous
        self.random = Random()  # noqa: S311  # spreads load
        if previous is not None and previous.identity is not None and previous.identity.credentials is credentials:
            self._identity: TlsIdentity | None = previous.identity
        else:
            self._identity = TlsIdentity(credentials) if credentials is not None else None
        self._dialler = previous.dialler if previous is not None else Dialler(Sweeper(), self._identity)
        self._clusters: dict[str, Cluster] = {}
        self._places: dict[str, tuple[Place, ...]] = {}
        self._backends: dict[str, _Backend] = {}
        self._by_name: dict[tuple[str, str, int], str] = {}
        self.needs_identity = True
        self.buckets = Buckets(bytearray(OCTETS))

    def snapshot(self) -> Snapshot:
        """Put it together."""
        spec = self._proxy.spec
        refuse_unserved(self._documents)
        if spec.outbound:
            for known in self._known_ports():
                backend = self._backends[known.cluster] = self._backend(known)
                self._add_destination(backend)
        plans = {}
        for place, inbound in enumerate(spec.inbound):
            plans[f"inbound-{place}"] = self._inbound(place, inbound)
        services = self._services() if spec.outbound else {}
        for place, outbound in enumerate(spec.outbound):
            plans[f"outbound-{place}"] = self._outbound(place, outbound, services)
        return Snapshot(
            generation=self._previous.generation + 1 if self._previous is not None else 1,
            plans=plans,
            clusters=self._clusters,
            places=self._places,
            identity=self._identity,
            dialler=self._dialler,
        )

    # -- what exists ---------------------------------------------------------------------------------------------

    def _known_ports(self) -> Iterator[KnownPort]:
        documents = self._documents
        services = [each.model for each in documents.services]
        slices = [each.model for each in documents.endpoint_slices]
        yield from service_ports(services, slices, self._trust_domain, self._proxy.namespace)
        yield from entry_ports([each.model for each in documents.service_entries], self._trust_domain)

    @property
    def _trust_domain(self) -> str:
        identity = self._proxy.spec.identity
        return identity.trust_domain if identity is not None else "cluster.local"

    def _backend(self, known: KnownPort) -> _Backend:
        policy = self._policy_for(known)
        chain = self._service_chain(known)
        toward = TOWARD.get(known.protocol, "auto")
        timeout = _default_timeout(known.protocol)
        if policy is None:
            return _Backend(known, ClusterSettings(protocol=toward), Route(known.cluster, timeout=timeout, chain=chain))
        spec = policy.spec
        retry = spec.retry
        settings = ClusterSettings(
            pool=PoolSettings(
                max_connections=spec.connections.max,
                max_pending=spec.connections.max_pending,
                warm=spec.warm.min,
                eager=spec.warm.mode == "eager",
                idle_timeout=spec.connections.idle_timeout,
                max_lifetime=spec.connections.max_lifetime,
            ),
            budget_share=retry.budget.percent / 100 if retry.budget is not None else 1.0,
            budget_per_second=retry.budget.min_per_second if retry.budget is not None else 1e9,
            budget_window=retry.budget.window if retry.budget is not None else 10.0,
            connect_timeout=spec.connect_timeout,
            protocol=toward,
        )
        route = Route(
            known.cluster,
            timeout=timeout if spec.timeout is None else (spec.timeout or None),
            attempt_timeout=retry.per_try_timeout,
            hedge=retry.hedge_on_per_try_timeout,
            attempt_idle_timeout=retry.per_try_idle_timeout,
            retry=_retry_policy(policy),
            chain=chain,
            sticky=self._sticky(policy),
        )
        return _Backend(known, settings, route)

    def _service_chain(self, known: KnownPort) -> Chain:
        """What policies of ours do to every call of this service, before the filters of its routes."""
        documents, here = self._documents, (known.kind, known.namespace, known.name, known.port)
        limits = of_service([each.model for each in documents.rate_limit_policies], *here)
        requests = of_service([each.model for each in documents.request_policies], *here)
        faults = of_service([each.model for each in documents.fault_policies], *here)
        return (
            rate_limit_chain(limits, known.cluster, compile_policy_match, self.buckets)
            + request_chain(requests, compile_policy_match)
            + fault_chain(faults, compile_policy_match, self.random)
        )

    def _sticky(self, policy: BackendPolicy) -> str:
        """The caller of what goes out here is always this workload."""
        by = policy.spec.sticky_split or ""
        return f"key:{self._proxy.spiffe_id or self._proxy_name.decode()}" if by == "principal" else by

    def _policy_for(self, known: KnownPort) -> BackendPolicy | None:
        found = None
        for each in self._documents.backend_policies:
            policy = each.model
            for ref in policy.spec.target_refs:
                same = ref.kind == known.kind and (ref.namespace or policy.namespace) == known.namespace
                if same and ref.name == known.name and ref.port in (None, known.port):
                    found = policy if found is None or ref.port is not None else found
        return found

    def _add_destination(self, backend: _Backend) -> None:
        """The cluster of a service port, as its DestinationRule wants it, and one for each of the rule's subsets."""
        known = backend.known
        rule = rule_for([each.model for each in self._documents.destination_rules], known, self._caller)
        whole = treatment(rule, known.port)
        self._add_cluster(known.cluster, places_under(whole, known.places), settings_under(whole, backend.settings))
        self._index(known, known.cluster, "")
        for subset in rule.spec.subsets if rule is not None else ():
            given = treatment(rule, known.port, subset)
            name = f"{known.cluster}/{subset.name}"
            places = places_under(given, places_of(subset, known.places))
            self._add_cluster(name, places, settings_under(given, backend.settings))
            self._index(known, name, subset.name)

    @property
    def _caller(self) -> Caller:
        metadata = self._proxy.metadata
        return Caller(metadata.namespace, metadata.labels, ROOT_NAMESPACE)

    def _add_cluster(self, name: str, places: tuple[Place, ...], settings: ClusterSettings) -> None:
        before = self._previous.clusters.get(name) if self._previous is not None else None
        if before is not None and before.settings == settings:
            self._clusters[name] = before
        else:
            connect = Connector(self._dialler, settings.connect_timeout)
            self._clusters[name] = Cluster(name, [each.endpoint() for each in places], connect, settings, self.random)
        self._places[name] = places

    # -- listeners -----------------------------------------------------------------------------------------------

    def _services(self) -> dict[bytes, RouteTable]:
        tables = {}
        for backend in self._backends.values():
            if backend.known.protocol not in ("http", "http2", "grpc"):
                continue
            table = self._table(backend)
            for authority in backend.known.authorities():
                tables[authority.encode()] = table
        return tables

    def _table(self, backend: _Backend) -> RouteTable:
        known = backend.known
        parent = Parent(known.kind, known.namespace, known.name, known.port, known.port_name)
        routes: list[AnyRoute] = [each.model for each in self._documents.http_routes]
        routes += [each.model for each in self._documents.grpc_routes]
        world = World(self._find_cluster, chain_of, self._session_chain)
        return build_table(parent, routes, self._proxy.namespace, Defaults(backend.route, known.cluster), world)

    def _session_chain(self, document: SessionPersistence, rule: str, clusters: tuple[str, ...]) -> Chain:
        served = self._clusters
        return session_chain(document, rule, clusters, lambda name: served[name].endpoints, wait.wall_clock)

    def _find_cluster(self, kind: str, name: str, port: int) -> str:
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

    def _outbound(self, place: int, outbound: Outbound, services: Mapping[bytes, RouteTable]) -> Plan:
        name = f"outbound-{place}"
        self._refuse_unserved(outbound.protocol, f"outbound[{place}]")
        fixed, tcp_cluster = None, ""
        if outbound.service is not None:
            backend = self._named(outbound.service.host, outbound.service.port, f"spec.outbound[{place}].service")
            fixed, tcp_cluster = self._table(backend), backend.known.cluster
        return Plan(
            name=name,
            inbound=False,
            protocol=outbound.protocol,
            mode=Mode.DISABLE,
            proxy_name=self._proxy_name,
            forwarding=Forwarding(inbound=False, pseudonym=self._proxy_name + b"-out"),
            clusters=self._clusters,
            services=services,
            fixed=fixed,
            tcp_cluster=tcp_cluster,
        )

    def _named(self, host: str, port: int, field: str) -> _Backend:
        wanted = f"{host.lower()}:{port}"
        for backend in self._backends.values():
            if wanted in backend.known.authorities():
                return backend
        known = sorted({f"{each.known.hosts[0]}:{each.known.port}" for each in self._backends.values()})
        raise self._error(
            field, wanted, f"expected the name and port of a known service: {', '.join(known) or 'there is none'}"
        )

    def _inbound(self, place: int, inbound: Inbound) -> Plan:
        name = f"inbound-{place}"
        self._refuse_unserved(inbound.protocol, f"inbound[{place}]")
        metadata = self._proxy.metadata
        policies = [each.model for each in self._documents.peer_authentications]
        port = inbound.app.port or inbound.listen.port
        mode = Mode[mode_for(policies, metadata.namespace, metadata.labels, ROOT_NAMESPACE, port)]
        if mode is not Mode.DISABLE and self._identity is None and self.needs_identity:
            expected = f"a certificate source, for PeerAuthentication asks for mutual TLS here ({mode.name})"
            raise self._error("spec.identity", "nothing", expected)
        cluster = f"app:{inbound.app}"
        settings = replace(APP_SETTINGS, protocol=TOWARD_APP.get(inbound.protocol, "auto"))
        self._add_cluster(cluster, (Place(inbound.app.host, inbound.app.port),), settings)
        scope = self._scope(port)
        gate = self._gate(scope)
        route = Route(
            cluster,
            template="",
            targets=(Target(cluster),),
            total_weight=1,
            retry=APP_RETRY,
            timeout=_default_timeout(inbound.protocol),
        )
        if gate is not None:
            route = replace(route, chain=Chain((), (tell,)))
        return Plan(
            name=name,
            inbound=True,
            protocol=inbound.protocol,
            mode=mode,
            proxy_name=self._proxy_name,
            forwarding=Forwarding(
                inbound=True, pseudonym=self._proxy_name + b"-in", uri=self._proxy.spiffe_id.encode()
            ),
            clusters=self._clusters,
            services={},
            fixed=RouteTable([Candidate(ANY_PATH, 0, route)]),
            tcp_cluster=cluster,
            gate=gate,
            chain=self._inbound_chain(scope) if gate is not None else self._tokens(scope) + self._inbound_chain(scope),
        )

    def _scope(self, port: int) -> Scope:
        metadata = self._proxy.metadata
        return Scope(
            namespace=metadata.namespace,
            labels=metadata.labels,
            port=port,
            trust_domain=self._trust_domain,
            root_namespace=ROOT_NAMESPACE,
        )

    def _tokens(self, scope: Scope) -> Chain:
        issuers = [each.model for each in self._documents.request_authentications]
        keys = {
            each.key: None
            for document in self._documents.authorization_policies
            if selects(document.model, scope)
            for rule in document.model.spec.rules
            for each in rule.when
        }
        claims = filter(None, map(claim_path, keys))
        return authentication_chain(issuers, self._documents.key_sets, scope, time, claims)

    def _gate(self, scope: Scope) -> Gate | None:
        """The authorizers outside that policies of this workload name; None where none does."""
        named: dict[str, list[AuthorizationPolicy]] = {}
        providers = {each.name: each for each in self._proxy.spec.extension_providers}
        for document in self._documents.authorization_policies:
            policy = document.model
            if policy.spec.provider is None or policy.is_dry_run or not selects(policy, scope):
                continue
            name = policy.spec.provider.name
            if name not in providers:
                at = document.where(("spec", "provider", "name"))
                expected = f"expected one of the Proxy's extensionProviders: {', '.join(providers) or 'it has none'}"
                found = Problem("error", "reference", *at, document.title, "spec.provider.name", name, expected)
                raise ConfigError([found])
            named.setdefault(name, []).append(policy)
        checks = [
            self._check(providers[name], index_rules(policies, "CUSTOM", scope))
            for name, policies in sorted(named.items())
        ]
        return Gate(tuple(checks), self._tokens(scope)) if checks else None

    def _check(self, provider: ExtensionProvider, rules: RuleIndex[Entry]) -> Check:
        asking = compile_asking(provider.name, provider.authorizer, rules, self._authorizer(provider))
        if provider.envoy_ext_authz_http is not None:
            return compile_http_check(provider.envoy_ext_authz_http, asking)
        host = provider.authorizer.service.rpartition("/")[2]
        return GrpcCheck(asking, host.encode(), self._proxy.spiffe_id.encode(), time)

    def _authorizer(self, provider: ExtensionProvider) -> str:
        """The cluster of an authorizer outside, which need not be anywhere else in use."""
        given = provider.authorizer
        wanted = f"{given.service.rpartition('/')[2].lower()}:{given.port}"
        for known in self._known_ports():
            if wanted in known.authorities():
                if known.cluster not in self._clusters:
                    self._add_destination(self._backend(known))
                return known.cluster
        place = self._proxy.spec.extension_providers.index(provider)
        kind = "Http" if provider.envoy_ext_authz_http is not None else "Grpc"
        field = f"spec.extensionProviders[{place}].envoyExtAuthz{kind}.service"
        raise self._error(field, wanted, "expected the host and port of a known service")

    def _inbound_chain(self, scope: Scope) -> Chain:
        documents = self._documents
        limits = of_workload([each.model for each in documents.rate_limit_policies], scope)
        requests = of_workload([each.model for each in documents.request_policies], scope)
        faults = of_workload([each.model for each in documents.fault_policies], scope)
        return (
            authorization_chain([each.model for each in documents.authorization_policies], scope)
            + rate_limit_chain(limits, f"port {scope.port}", compile_policy_match, self.buckets)
            + request_chain(requests, compile_policy_match)
            + fault_chain(faults, compile_policy_match, self.random)
        )

    @property
    def _proxy_name(self) -> bytes:
        metadata = self._proxy.metadata
        return f"{metadata.name}.{metadata.namespace}".encode()

    def _refuse_unserved(self, protocol: str, field: str) -> None:
        if protocol in UNSERVED:
            raise self._error(
                f"spec.{field}.protocol",
                protocol,
                "expected one of auto, http, http2, grpc: no other is served yet",
            )

    def _error(self, field: str, given: str, expected: str) -> ConfigError:
        title = f"Proxy {self._proxy.namespace}/{self._proxy.name}"
        return ConfigError([Problem("error", "value", "", 0, 0, title, field, given, expected)])


# Toward our own app on this machine: no mesh, few surprises, so a broken connection is all that is tried again.
APP_SETTINGS = ClusterSettings(pool=PoolSettings(warm=1))
APP_RETRY = RetryPolicy(safe_only=frozenset({"reset"}))


def _default_timeout(protocol: str) -> float | None:
    """Of a route that says nothing: none where gRPC is declared, whose streams last as long as their clients' deadlines
    say."""
    return None if protocol == "grpc" else Route("").timeout


def _retry_policy(policy: BackendPolicy) -> RetryPolicy:
    retry = policy.spec.retry
    base = RetryPolicy(
        attempts=retry.attempts,
        codes=frozenset(retry.codes),
        backoff_base=retry.backoff.base,
        backoff_max=retry.backoff.max,
        buffer=retry.buffer_limit,
        safe_methods=frozenset(method.encode() for method in retry.methods),
    )
    if retry.on is None:
        return replace(base, safe_only=base.safe_only | {"retriable-status-codes"}) if retry.codes else base
    wanted = frozenset(retry.on)
    return replace(base, any_method=base.any_method & wanted, safe_only=wanted - base.any_method)
