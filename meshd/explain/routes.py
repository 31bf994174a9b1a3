"""Every route that could have taken a request, and why it did or did not: the compiled matches, asked one by one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from meshd.config.documents import Document, Documents
from meshd.config.errors import did_you_mean
from meshd.config.http_route import HTTPMatch
from meshd.config.model import Resource
from meshd.core.head import RequestHead
from meshd.core.route import Route
from meshd.routing.matcher import Match, Predicate, compile_match, query_value
from meshd.routing.table import Candidate, RouteTable
from meshd.snapshot import Plan

BETTER = "a more specific match took it"
EARLIER = "an equal match of an older route, or an earlier rule, took it"

OTHER = "a condition that the match has besides these"  # such as the method of a GRPCRoute that names no service


@dataclass(frozen=True, slots=True)
class RouteTrace:
    """One match of one rule. `failed` is its first condition that did not hold, or what else stood in its way."""

    route: str  # kind/namespace/name/rule
    match: str
    chosen: bool
    failed: str
    observed: str
    place: str  # file:line


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a match besides the path, in words, compiled by itself."""

    name: str
    holds: Predicate
    observed: str


def trace_routes(table: RouteTable, head: RequestHead, documents: Documents) -> tuple[RouteTrace, ...]:
    """Every candidate of a service, in the order of precedence."""
    places = _places(documents)
    winner: Candidate | None = None
    traces: list[RouteTrace] = []
    for candidate in table.candidates:
        holds = RouteTable([candidate]).find(head) is not None
        failed = observed = ""
        if holds and winner is None:
            winner = candidate
        elif holds and winner is not None:
            failed = EARLIER if winner.match.specificity == candidate.match.specificity else BETTER
        else:
            failed, observed = first_failure(candidate.match, head)
        name = candidate.route.name
        chosen = candidate is winner
        traces.append(RouteTrace(name, describe_match(candidate.match), chosen, failed, observed, places.get(name, "")))
    found = table.find(head)
    assert (winner.route if winner is not None else None) == found, "the table and its matches disagree"
    return tuple(traces)


def first_failure(match: Match, head: RequestHead) -> tuple[str, str]:
    """The first condition that does not hold, and what it saw: the path, then the method, headers, parameters."""
    if not path_holds(match, head):
        return f"path: {_path_words(match)}", _text(head.path)
    for condition in conditions(match.source, head):
        if not condition.holds(head):
            return condition.name, condition.observed
    return OTHER, _text(head.path)


def path_holds(match: Match, head: RequestHead) -> bool:
    """Whether the path alone would do."""
    kept = match.predicates[:1] if match.kind == "RegularExpression" else ()
    alone = RouteTable([Candidate(replace(match, predicates=kept), 0, _ANY)])
    return alone.find(head) is not None


def conditions(source: HTTPMatch | None, head: RequestHead) -> Iterator[Condition]:
    """The conditions besides the path, each compiled from a match of nothing else."""
    if source is None:
        return
    if source.method is not None:
        alone = compile_match(HTTPMatch(method=source.method))
        yield Condition(f'method: "{source.method}"', alone.predicates[0], _text(head.method))
    for header in source.headers:
        alone = compile_match(HTTPMatch(headers=(header,)))
        name = header.name.lower().encode()
        seen = {b"host": head.authority, b"upgrade": head.upgrade}.get(name, head.get(name))
        word = "" if header.type == "Exact" else " matches"
        yield Condition(f'header {header.name}{word}: "{header.value}"', alone.predicates[0], _seen(seen))
    for parameter in source.query_params:
        alone = compile_match(HTTPMatch(queryParams=(parameter,)))  # type: ignore[call-arg]  # by its alias
        word = "" if parameter.type == "Exact" else " matches"
        seen = query_value(head.query, parameter.name.encode())
        yield Condition(f'parameter {parameter.name}{word}: "{parameter.value}"', alone.predicates[0], _seen(seen))


def describe_match(match: Match) -> str:
    """The match in one line."""
    parts = [_path_words(match)]
    source = match.source
    if source is not None:
        parts += [source.method] if source.method is not None else []
        parts += [f"{header.name}={header.value}" for header in source.headers]
        parts += [f"?{parameter.name}={parameter.value}" for parameter in source.query_params]
    return ", ".join(parts)


def nearest_authority(plan: Plan, authority: str) -> str:
    """The known name that may be meant; empty when none is near."""
    near = did_you_mean(authority, [name.decode() for name in plan.services])
    return near.removeprefix("did you mean '").removesuffix("'?")


def _path_words(match: Match) -> str:
    return f'{match.kind} "{_text(match.path) or "/"}"'


def _places(documents: Documents) -> dict[str, str]:
    """Where the rule of each route stands, by the route's name."""
    found: dict[str, str] = {}
    for http in documents.http_routes:
        found |= dict(_rules(http, [rule.name for rule in http.model.spec.rules]))
    for grpc in documents.grpc_routes:
        found |= dict(_rules(grpc, [rule.name for rule in grpc.model.spec.rules]))
    return found


def _rules(document: Document[Resource], names: Iterable[str | None]) -> Iterator[tuple[str, str]]:
    route = document.model
    for number, name in enumerate(names):
        file, line, _ = document.where(("spec", "rules", number))
        yield f"{route.kind}/{route.namespace}/{route.name}/{name or number}", f"{file}:{line}"


def _seen(value: bytes | None) -> str:
    return "nothing" if value is None else _text(value) or '""'


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


_ANY = Route("any")
