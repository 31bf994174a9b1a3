"""Routes against the rest: parents and backends that do not exist, rules that can never match."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from meshd.config.destinations import Destinations
from meshd.config.documents import Document, Documents
from meshd.config.errors import Path, Problem, field_name
from meshd.config.grpc_route import GRPCHeaderMatch, GRPCMatch, GRPCRoute
from meshd.config.http_route import HeaderMatch, HTTPMatch, HTTPRoute
from meshd.config.l4_route import TCPRoute, TLSRoute
from meshd.config.model import Resource
from meshd.config.references import BackendObjectRef, ParentRef

MatchKey: TypeAlias = tuple[object, ...]
Place: TypeAlias = tuple[str, Path]  # the title of a route, and where in it


def warning(document: Document[Resource], path: Path, expected: str, suggestion: str = "", given: str = "") -> Problem:
    """A warning about a value of a document."""
    place = (*document.where(path), document.title, field_name(path))
    return Problem("warning", "reference", *place, given, expected, suggestion)


def check_routes(documents: Documents, destinations: Destinations) -> Iterator[Problem]:
    """Every route's parents, backends and matches."""
    for http in documents.http_routes:
        yield from _parents(http, http.model.spec.parent_refs, destinations)
        yield from _hostnames(http, http.model.spec.hostnames, http.model.spec.parent_refs)
        yield from _http_backends(http, destinations)
        for place, http_rule in enumerate(http.model.spec.rules):
            yield from _second_entries(http, place, http_rule.matches)
    for grpc in documents.grpc_routes:
        yield from _parents(grpc, grpc.model.spec.parent_refs, destinations)
        yield from _hostnames(grpc, grpc.model.spec.hostnames, grpc.model.spec.parent_refs)
        yield from _grpc_backends(grpc, destinations)
        for place, call_rule in enumerate(grpc.model.spec.rules):
            yield from _second_entries(grpc, place, call_rule.matches)
    l4: tuple[Document[TCPRoute] | Document[TLSRoute], ...] = (*documents.tcp_routes, *documents.tls_routes)
    for route in l4:
        yield from _parents(route, route.model.spec.parent_refs, destinations)
        for place, rule in enumerate(route.model.spec.rules):
            yield from _backends(route, ("spec", "rules", place, "backendRefs"), rule.backend_refs, destinations)
        if len(route.model.spec.rules) > 1 and isinstance(route.model, TCPRoute):
            yield warning(route, ("spec", "rules", 1), "the first rule takes every connection; this one never acts")
    yield from _outranked(documents)
    yield from _shadowed(documents)


def _second_entries(
    route: Document[Resource], place: int, matches: Sequence[HTTPMatch | GRPCMatch]
) -> Iterator[Problem]:
    """Entries of a match that name a header again, which the Gateway API has nobody consider."""
    for number, match in enumerate(matches):
        seen: set[str] = set()
        headers: Sequence[HeaderMatch | GRPCHeaderMatch] = match.headers
        for entry, header in enumerate(headers):
            if header.name.lower() in seen:
                at = ("spec", "rules", place, "matches", number, "headers", entry, "name")
                expected = "an earlier entry names the same header: only the first is considered"
                yield warning(route, at, expected, "remove one of the two", header.name)
            seen.add(header.name.lower())


def _outranked(documents: Documents) -> Iterator[Problem]:
    """HTTPRoutes on a port where a GRPCRoute is: that one alone acts there."""
    taken: dict[tuple[str, ...], list[tuple[ParentRef, Document[GRPCRoute]]]] = {}
    for grpc in documents.grpc_routes:
        for ref in grpc.model.spec.parent_refs:
            taken.setdefault(_parent(ref, grpc), []).append((ref, grpc))
    for http in documents.http_routes:
        for place, ref in enumerate(http.model.spec.parent_refs):
            there = taken.get(_parent(ref, http), ())
            by = next((grpc for other, grpc in there if _is_same_port(ref, other)), None)
            if by is not None:
                expected = f"{by.title} is attached here too: where both are, only the GRPCRoute acts"
                yield warning(http, ("spec", "parentRefs", place), expected, "name different ports, or merge the two")


def _parent(ref: ParentRef, route: Document[Resource]) -> tuple[str, ...]:
    return ref.group, ref.kind, ref.namespace or route.model.namespace, ref.name


def _is_same_port(ref: ParentRef, other: ParentRef) -> bool:
    ports = None in (ref.port, other.port) or ref.port == other.port
    sections = None in (ref.section_name, other.section_name) or ref.section_name == other.section_name
    return ports and sections


def _parents(route: Document[Resource], refs: Sequence[ParentRef], destinations: Destinations) -> Iterator[Problem]:
    if not refs:
        yield warning(route, ("spec",), "the route attaches to nothing and never acts", "name a Service in parentRefs")
    for place, ref in enumerate(refs):
        at: Path = ("spec", "parentRefs", place)
        key = (ref.namespace or route.model.namespace, ref.name)
        if not ref.is_service and not ref.is_service_entry:
            expected = f"a sidecar serves Services; for a parent of kind {ref.kind} the route does not act"
            yield warning(route, at, expected, "write 'group: \"\"' and 'kind: Service'")
            continue
        ports = (destinations.services if ref.is_service else destinations.entries).get(key)
        if ports is None:
            hint = destinations.nearest(ref.name, key[0])
            yield warning(route, (*at, "name"), f"no {ref.kind} {key[0]}/{ref.name}: the route does not act", hint)
        elif ref.port is not None and ref.port not in ports:
            known = ", ".join(map(str, ports))
            yield warning(
                route, (*at, "port"), f"{ref.name} has no such port; its ports are {known}", "", str(ref.port)
            )
        elif ref.section_name is not None and ref.section_name not in ports.values():
            known = ", ".join(name for name in ports.values() if name)
            yield warning(route, (*at, "sectionName"), f"{ref.name} has no port of that name; they are {known}")


def _hostnames(route: Document[Resource], hosts: Sequence[str], refs: Sequence[ParentRef]) -> Iterator[Problem]:
    if hosts and any(ref.is_service for ref in refs):
        expected = "host names are not looked at when the parent is a Service: all of its traffic takes this route"
        yield warning(route, ("spec", "hostnames"), expected, "remove 'hostnames'")


def _http_backends(route: Document[HTTPRoute], destinations: Destinations) -> Iterator[Problem]:
    for place, rule in enumerate(route.model.spec.rules):
        at: Path = ("spec", "rules", place)
        yield from _backends(route, (*at, "backendRefs"), rule.backend_refs, destinations)
        for index, step in enumerate(rule.filters):
            if step.request_mirror is not None:
                where = (*at, "filters", index, "requestMirror", "backendRef")
                yield from _backend(route, where, step.request_mirror.backend_ref, destinations)
        if not rule.backend_refs and not any(step.request_redirect for step in rule.filters):
            expected = "no backendRefs: every request of this rule is answered with 500"
            yield warning(route, at, expected, "name a backend or a RequestRedirect filter")
        yield from _weightless(route, at, [ref.weight for ref in rule.backend_refs])


def _grpc_backends(route: Document[GRPCRoute], destinations: Destinations) -> Iterator[Problem]:
    for place, rule in enumerate(route.model.spec.rules):
        at: Path = ("spec", "rules", place)
        yield from _backends(route, (*at, "backendRefs"), rule.backend_refs, destinations)
        if not rule.backend_refs:
            yield warning(route, at, "no backendRefs: every call of this rule is answered with UNAVAILABLE")
        yield from _weightless(route, at, [ref.weight for ref in rule.backend_refs])


def _weightless(route: Document[Resource], at: Path, weights: Sequence[int]) -> Iterator[Problem]:
    if weights and not any(weights):
        expected = "every weight is 0: every request of this rule is answered with 503"
        yield warning(route, (*at, "backendRefs"), expected, "give a backend a weight")


def _backends(
    route: Document[Resource], at: Path, refs: Sequence[BackendObjectRef], destinations: Destinations
) -> Iterator[Problem]:
    for place, ref in enumerate(refs):
        yield from _backend(route, (*at, place), ref, destinations)


def _backend(
    route: Document[Resource], at: Path, ref: BackendObjectRef, destinations: Destinations
) -> Iterator[Problem]:
    namespace = ref.namespace or route.model.namespace
    ports = destinations.of_reference(ref, route.model.namespace)
    if ports is None:
        expected = f"no {ref.kind} {namespace}/{ref.name}: its share of the traffic is answered with 500"
        yield warning(route, (*at, "name"), expected, destinations.nearest(ref.name, namespace))
    elif ref.port is not None and ref.port not in ports:
        known = ", ".join(map(str, ports)) or "none"
        expected = f"{ref.name} has no such port: its share of the traffic is answered with 500; its ports are {known}"
        yield warning(route, (*at, "port"), expected, "", str(ref.port))


def _shadowed(documents: Documents) -> Iterator[Problem]:
    """A match that an earlier one takes all requests of: the same conditions at the same parent."""
    seen: dict[MatchKey, Place] = {}
    for http in documents.http_routes:
        for place, rule in enumerate(http.model.spec.rules):
            for index, match in enumerate(rule.matches or (HTTPMatch(),)):
                at: Path = ("spec", "rules", place, "matches", index)
                yield from _taken(http, at, _http_key(match), http.model.spec.parent_refs, seen)
    for grpc in documents.grpc_routes:
        for place, call in enumerate(grpc.model.spec.rules):
            for index, each in enumerate(call.matches or (GRPCMatch(),)):
                at = ("spec", "rules", place, "matches", index)
                yield from _taken(grpc, at, _grpc_key(each), grpc.model.spec.parent_refs, seen)


def _taken(
    route: Document[Resource],
    at: Path,
    key: MatchKey,
    refs: Sequence[ParentRef],
    seen: dict[MatchKey, Place],
) -> Iterator[Problem]:
    """Whether all parents' traffic is gone; one parent left is enough to be of use."""
    here = (route.title, at)
    earlier: list[Place] = []
    for ref in refs:
        parent = (ref.group, ref.kind, ref.namespace or route.model.namespace, ref.name, ref.port, ref.section_name)
        by = seen.setdefault((route.model.kind, parent, *key), here)
        if by != here:
            earlier.append(by)
    if refs and len(earlier) == len(refs):
        first = f"{earlier[0][0]} {field_name(earlier[0][1])}"
        yield warning(route, at, f"never acts: {first} matches the same requests first", "remove one of the two")


def _http_key(match: HTTPMatch) -> MatchKey:
    headers = frozenset((each.name.lower(), each.type, each.value) for each in match.headers)
    params = frozenset((each.name, each.type, each.value) for each in match.query_params)
    path = match.path.value.rstrip("/") if match.path.type == "PathPrefix" else match.path.value
    return (match.path.type, path, headers, params, match.method)


def _grpc_key(match: GRPCMatch) -> MatchKey:
    headers = frozenset((each.name.lower(), each.type, each.value) for each in match.headers)
    method = (match.method.type, match.method.service, match.method.method) if match.method else None
    return (method, headers)
