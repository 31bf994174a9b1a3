"""From HTTPRoutes and GRPCRoutes to the table of one service port.

Sources: Gateway API HTTPRoute and GEP-1294: a route in the namespace of its Service binds every caller, one in a
caller's own namespace binds that namespace alone and goes before it. A backend that does not exist keeps its weight
and answers 500. A rule without backends answers 500; a service without routes gets its own traffic. Where GRPCRoutes
are attached to a port they alone act there: what is more special goes first.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TypeAlias

from meshd.config.grpc_route import GRPCMatch, GRPCRoute
from meshd.config.http_route import HTTPBackendRef, HTTPRetry, HTTPRoute, HTTPRule, PathMatch
from meshd.config.references import ISTIO_NETWORKING_GROUP, OUR_GROUP, BackendObjectRef, ParentRef
from meshd.config.route_filters import HTTPFilter
from meshd.config.route_parts import SessionPersistence
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.route import RetryPolicy, Route, Target, idle_limit
from meshd.core.steps import Steps, run
from meshd.routing.grpc_routes import as_http_rule, compile_call
from meshd.routing.matcher import Match, compile_match
from meshd.routing.table import Candidate, RouteTable

AnyRoute: TypeAlias = HTTPRoute | GRPCRoute
# Filters, the prefix that was matched, and what tells the cluster of a backend → their steps.
ChainOf = Callable[[Iterable[HTTPFilter], bytes, Callable[[BackendObjectRef], str]], Chain]
# What keeps sessions, the name of the rule, and the clusters of its backends → its steps.
SessionChain = Callable[[SessionPersistence, str, tuple[str, ...]], Chain]
# Kind, name and port of a backend → its cluster, empty when there is none. Service and ServiceEntry are named
# namespace/name, a Subset namespace/name.subset, a Hostname by itself; port 0 means the only one there is.
FindCluster = Callable[[str, str, int], str]
IN_A_NAMESPACE = {("", "Service"), (ISTIO_NETWORKING_GROUP, "ServiceEntry"), (OUR_GROUP, "Subset")}


@dataclass(frozen=True, slots=True)
class Parent:
    """The service port that routes attach to."""

    kind: str  # Service or ServiceEntry
    namespace: str
    name: str
    port: int
    port_name: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a route gets that says nothing of its own: the BackendPolicy's, or the house's."""

    route: Route
    cluster: str


@dataclass(frozen=True, slots=True)
class World:
    """What a route refers to beyond itself."""

    find: FindCluster
    chain_of: ChainOf
    session_chain: SessionChain


def build_table(
    parent: Parent, routes: Iterable[AnyRoute], own_namespace: str, defaults: Defaults, world: World
) -> RouteTable:
    """The table of one service port as callers in `own_namespace` see it."""
    return run(building_table(parent, routes, own_namespace, defaults, world))


def building_table(
    parent: Parent, routes: Iterable[AnyRoute], own_namespace: str, defaults: Defaults, world: World
) -> Steps[RouteTable]:
    """The same in steps, none of which is longer than one match takes."""
    attached = [route for route in routes if any(_means(ref, route, parent) for ref in route.spec.parent_refs)]
    attached = [route for route in attached if isinstance(route, GRPCRoute)] or attached
    consumer = [route for route in attached if route.namespace == own_namespace != parent.namespace]
    chosen = consumer or [route for route in attached if route.namespace == parent.namespace]
    chosen.sort(key=lambda route: (route.metadata.creation_timestamp or "", route.namespace, route.name))
    candidates: list[Candidate] = []
    for route in chosen:
        for place, (rule, matches) in enumerate(_rules(route)):
            named = f"{route.kind}/{route.namespace}/{route.name}/{rule.name or place}"
            context = _Context(named, route.namespace, defaults, world)
            order = len(candidates)
            for candidate in _candidates(rule, matches, order, context):
                candidates.append(candidate)
                yield
    if not chosen:
        own = Target(defaults.cluster)
        whole = replace(
            defaults.route, name=f"{parent.kind}/{parent.namespace}/{parent.name}", targets=(own,), total_weight=1
        )
        candidates = [Candidate(_every_path(), 0, replace(whole, template="/*"))]
    return RouteTable(candidates)


def _rules(route: AnyRoute) -> Iterator[tuple[HTTPRule, Iterable[tuple[Match, str]]]]:
    """Each rule with its compiled matches and how their paths are written."""
    if isinstance(route, GRPCRoute):
        for call_rule in route.spec.rules:
            matches = call_rule.matches or (GRPCMatch.model_construct(),)
            yield as_http_rule(call_rule), (compile_call(match) for match in matches)
    else:
        for rule in route.spec.rules:
            every = rule.matches or HTTPRule().matches
            yield rule, ((compile_match(match), template_of(match.path)) for match in every)


def template_of(path: PathMatch) -> str:
    """How spans and metrics write the paths that a match takes: what is left open as `*`."""
    return f"{path.value.rstrip('/')}/*" if path.type == "PathPrefix" else path.value


@cache
def _every_path() -> Match:
    return compile_match(HTTPRule().matches[0])


def _means(ref: ParentRef, route: AnyRoute, parent: Parent) -> bool:
    if not (ref.is_service if parent.kind == "Service" else ref.is_service_entry):
        return False
    if ref.name != parent.name or (ref.namespace or route.namespace) != parent.namespace:
        return False
    return (ref.port is None or ref.port == parent.port) and (
        ref.section_name is None or ref.section_name == parent.port_name
    )


@dataclass(frozen=True, slots=True)
class _Context:
    name: str  # of the rule
    namespace: str  # of its route
    defaults: Defaults
    world: World


def _candidates(
    rule: HTTPRule, matches: Iterable[tuple[Match, str]], order: int, context: _Context
) -> Iterator[Candidate]:
    for compiled, template in matches:
        prefix = compiled.path if compiled.kind == "PathPrefix" else b""
        targets = tuple(_target(ref, context.namespace, prefix, context.world) for ref in rule.backend_refs)
        session = EMPTY_CHAIN
        if rule.session_persistence is not None:
            clusters = tuple(target.cluster for target in targets if target.cluster)
            session = context.world.session_chain(rule.session_persistence, context.name, clusters)
        made = replace(
            context.defaults.route,
            name=context.name,
            template=template,
            targets=targets,
            total_weight=sum(ref.weight for ref in rule.backend_refs),
            chain=_chain(rule.filters, prefix, context) + session,
        )
        yield Candidate(compiled, order, _with_timing(made, rule))


def _chain(filters: Iterable[HTTPFilter], prefix: bytes, context: _Context) -> Chain:
    """The policies of the service, then the filters of the rule; around both, CORS: it answers preflights before limits
    and faults are asked, and has the last word on who may read an answer."""
    world, find = context.world, partial(_cluster, namespace=context.namespace, world=context.world)
    cors = world.chain_of([each for each in filters if each.cors is not None], prefix, find)
    inner = context.defaults.route.chain + world.chain_of([each for each in filters if each.cors is None], prefix, find)
    return Chain(cors.on_request) + inner + Chain((), cors.on_response)


def _target(ref: HTTPBackendRef, namespace: str, prefix: bytes, world: World) -> Target:
    filters = world.chain_of(ref.filters, prefix, lambda other: _cluster(other, namespace, world))
    return Target(_cluster(ref, namespace, world), ref.weight, filters)


def _cluster(ref: BackendObjectRef, namespace: str, world: World) -> str:
    """The cluster of a backend; empty when there is none."""
    if (ref.group, ref.kind) in IN_A_NAMESPACE:
        return world.find(ref.kind, f"{ref.namespace or namespace}/{ref.name}", ref.port or 0)
    if ref.kind == "Hostname" and ref.group == ISTIO_NETWORKING_GROUP:
        return world.find(ref.kind, ref.name.lower(), ref.port or 0)
    return ""


def _with_timing(route: Route, rule: HTTPRule) -> Route:
    timeouts, retry = rule.timeouts, rule.retry
    if timeouts is not None and timeouts.request is not None:
        route = replace(route, timeout=timeouts.request or None, timeout_of=f"timeouts.request of {route.name}")
    if timeouts is not None and timeouts.backend_request is not None:
        limit = timeouts.backend_request or None
        route = replace(route, attempt_timeout=limit, attempt_timeout_of=f"timeouts.backendRequest of {route.name}")
    route = replace(route, idle_timeout=idle_limit(route.timeout, route.attempt_timeout))
    return route if retry is None else replace(route, retry=_retry(route.retry, retry))


# Conditions about responses. What a rule lists in `retry.codes` stands in their place.
OF_RESPONSES = frozenset(
    """
    5xx gateway-error retriable-4xx envoy-ratelimited
    cancelled deadline-exceeded internal resource-exhausted unavailable
    """.split()  # noqa: SIM905  # the words read better so
)


def _retry(policy: RetryPolicy, retry: HTTPRetry) -> RetryPolicy:
    """What a rule says of retries, over what is said of the service. A connection that failed is tried again whatever
    the codes (GEP-1731); `backoff` is the least that passes between two tries."""
    if retry.attempts is not None:
        policy = replace(policy, attempts=retry.attempts)
    elif not policy.attempts:
        policy = replace(policy, attempts=1)
    if retry.codes:
        policy = replace(
            policy,
            codes=frozenset(retry.codes),
            any_method=_of_connections(policy.any_method),
            safe_only=_of_connections(policy.safe_only) | {"retriable-status-codes"},
        )
    if retry.backoff is not None:
        least, most = retry.backoff, 10 * retry.backoff
        policy = replace(policy, backoff_min=least, backoff_base=least, backoff_max=most)
    return policy


def _of_connections(conditions: frozenset[str]) -> frozenset[str]:
    """Those that are not about responses; two that are mean a missing one as well."""
    lost = {"reset"} if conditions & {"5xx", "gateway-error"} else set()
    return conditions - OF_RESPONSES | lost
