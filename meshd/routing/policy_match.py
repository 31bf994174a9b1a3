"""From the match of a RateLimitPolicy, RequestPolicy or FaultPolicy to its two predicates.

The words are those of a route's match, but the question is another: a route must go somewhere, so it takes the normal
form of a path and a repeated field as one; a policy restricts, so whoever repeats a field, spells it otherwise or
writes a path in another way must not get past it.
"""

from collections.abc import Callable

from meshd.config.http_route import HeaderMatch, HTTPMatch, PathMatch
from meshd.config.policy_match import PolicyMatch
from meshd.core.head import RequestHead
from meshd.core.matches import Matches, Predicate
from meshd.core.path_forms import canonical
from meshd.core.regex import compile_regex
from meshd.routing.matcher import compile_match


def compile_policy_match(match: PolicyMatch) -> Matches:
    """Every condition must hold, each by one value or reading, or by all."""
    plain = compile_match(HTTPMatch(method=match.method)).predicates
    headers = [_header(each) for each in match.headers]
    path = _path(match.path) if match.path is not None else None
    may: list[Predicate] = [*plain, *(each.may for each in headers)]
    must: list[Predicate] = [*plain, *(each.must for each in headers)]
    if path is not None:
        may.insert(0, path.may)
        must.insert(0, path.must)
    return Matches(_all(tuple(may)), _all(tuple(must)))


def _all(predicates: tuple[Predicate, ...]) -> Predicate:
    if len(predicates) == 1:
        return predicates[0]
    return lambda head: all(predicate(head) for predicate in predicates)


def _header(match: HeaderMatch) -> Matches:
    name, test = match.name.lower().encode(), _test(match)
    if name in (b"host", b"upgrade"):
        return _once(_hosts if name == b"host" else _protocols, test)

    def may(head: RequestHead) -> bool:
        values = head.values(name)
        return any(map(test, values)) or (len(values) > 1 and test(b",".join(values)))

    def must(head: RequestHead) -> bool:
        values = head.values(name)
        return bool(values) and all(map(test, values)) and (len(values) == 1 or test(b",".join(values)))

    return Matches(may, must)


def _once(look: Callable[[RequestHead], set[bytes]], test: Callable[[bytes], bool]) -> Matches:
    """Of a field that no head has twice: by one way to write it, or by all."""

    def may(head: RequestHead) -> bool:
        return any(map(test, look(head)))

    def must(head: RequestHead) -> bool:
        ways = look(head)
        return bool(ways) and all(map(test, ways))

    return Matches(may, must)


def _hosts(head: RequestHead) -> set[bytes]:
    """A name is the same with a port, and with the dot of the root."""
    return {head.authority, head.host, head.host.removesuffix(b".")}


def _protocols(head: RequestHead) -> set[bytes]:
    """Protocols compare without case (RFC 9110 section 7.8), and a client may offer several."""
    if head.upgrade is None:
        return set()
    return {head.upgrade, *(each.strip().lower() for each in head.upgrade.split(b","))}


def _test(match: HeaderMatch) -> Callable[[bytes], bool]:
    if match.type == "RegularExpression":
        return compile_regex(match.value)
    lowered = match.name.lower() in ("host", "upgrade")
    wanted = (match.value.lower() if lowered else match.value).encode()
    return lambda value: value == wanted


def _path(match: PathMatch) -> Matches | None:
    """None where every path will do."""
    value = canonical(match.value.encode())
    if match.type == "PathPrefix":
        value = value.rstrip(b"/")
        if not value:
            return None
        below = value + b"/"
        return _by_readings(lambda head: head.path == value or head.path.startswith(below))
    if match.type == "Exact":
        return _by_readings(lambda head: head.path == value)
    matches = compile_regex(match.value)
    return _by_readings(lambda head: matches(head.path))


def _by_readings(holds: Predicate) -> Matches:
    def may(head: RequestHead) -> bool:
        return holds(head) if head.forms is None else head.any_reading(lambda: holds(head))

    def must(head: RequestHead) -> bool:
        return holds(head) if head.forms is None else not head.any_reading(lambda: not holds(head))

    return Matches(may, must)
