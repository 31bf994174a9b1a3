"""From a match of a document to a predicate on a request head.

Source: Gateway API HTTPRouteMatch: header names compare without case, query parameters with it, the first value of a
repeated parameter counts, a regular expression (RE2's) must match all of the value. Of entries that name one header or
one parameter only the first is considered. Paths are matched in their normal form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from meshd.config.http_route import HeaderMatch, HTTPMatch, QueryParamMatch
from meshd.core.head import RequestHead
from meshd.core.path_forms import canonical
from meshd.core.regex import compile_regex

Predicate = Callable[[RequestHead], bool]


@dataclass(frozen=True, slots=True)
class Match:
    """One compiled match: where in the table it is looked up, what else must hold, and how specific it is."""

    kind: str  # Exact, PathPrefix or RegularExpression
    path: bytes  # of a prefix without its trailing slash; of a regular expression its source
    predicates: tuple[Predicate, ...]
    specificity: tuple[int, int, int, int, int]  # greater wins
    source: HTTPMatch | None = None  # what it was compiled from, for those who ask why


KIND_RANK = {"Exact": 2, "RegularExpression": 1, "PathPrefix": 0}


def compile_match(match: HTTPMatch) -> Match:
    """The specification's order: exact path, longest prefix, method, most headers, most query parameters.

    Regular expressions, whose precedence it leaves open, stand between exact and prefix, as in Envoy-based gateways.
    """
    match = _without_repeats(match)
    predicates: list[Predicate] = []
    if match.method is not None:
        predicates.append(_method(match.method.encode()))
    predicates += [_header(header) for header in match.headers]
    predicates += [_query(parameter) for parameter in match.query_params]
    kind, value = match.path.type, match.path.value.encode()
    if kind != "RegularExpression":
        value = canonical(value)
    if kind == "PathPrefix":
        value = value.rstrip(b"/")
    elif kind == "RegularExpression":
        predicates.insert(0, _regex_path(match.path.value))
    specificity = (KIND_RANK[kind], len(value), match.method is not None, len(match.headers), len(match.query_params))
    return Match(kind, value, tuple(predicates), specificity, match)


def _without_repeats(match: HTTPMatch) -> HTTPMatch:
    """Only the first entry of each name: of headers without case, of parameters with it."""
    headers = {each.name.lower(): each for each in reversed(match.headers)}
    parameters = {each.name: each for each in reversed(match.query_params)}
    if len(headers) == len(match.headers) and len(parameters) == len(match.query_params):
        return match
    kept = {
        "headers": tuple(each for each in match.headers if headers[each.name.lower()] is each),
        "query_params": tuple(each for each in match.query_params if parameters[each.name] is each),
    }
    return match.model_copy(update=kept)


def _method(method: bytes) -> Predicate:
    return lambda head: head.method == method


def _regex_path(pattern: str) -> Predicate:
    matches = compile_regex(pattern)
    return lambda head: matches(head.path)


def _header(match: HeaderMatch) -> Predicate:
    name, value = match.name.lower().encode(), match.value.encode()
    if name == b"host":
        return _host(match)
    if name == b"upgrade":
        return _upgrade(match)
    if match.type == "Exact":
        return lambda head: head.get(name) == value
    matches = compile_regex(match.value)

    def holds(head: RequestHead) -> bool:
        found = head.get(name)
        return found is not None and matches(found)

    return holds


def _host(match: HeaderMatch) -> Predicate:
    if match.type == "Exact":
        wanted = match.value.lower().encode()
        return lambda head: head.authority == wanted
    matches = compile_regex(match.value)
    return lambda head: matches(head.authority)


def _upgrade(match: HeaderMatch) -> Predicate:
    if match.type == "Exact":
        wanted = match.value.encode()
        return lambda head: head.upgrade == wanted
    matches = compile_regex(match.value)
    return lambda head: head.upgrade is not None and matches(head.upgrade)


def _query(match: QueryParamMatch) -> Predicate:
    name, value = match.name.encode(), match.value.encode()
    if match.type == "Exact":
        return lambda head: query_value(head.query, name) == value
    matches = compile_regex(match.value)

    def holds(head: RequestHead) -> bool:
        found = query_value(head.query, name)
        return found is not None and matches(found)

    return holds


def query_value(query: bytes | None, name: bytes) -> bytes | None:
    """The first value of a parameter, decoded; None when it is not there."""
    if not query:
        return None
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if unquote_to_bytes(key.replace(b"+", b" ")) == name:
            return unquote_to_bytes(value.replace(b"+", b" "))
    return None
