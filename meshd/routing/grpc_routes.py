"""From the calls of a GRPCRoute to what the table of HTTP routes looks up: a gRPC method is a path.

Source: Gateway API GRPCRoute. A call of `service/method` is POST /service/method. Precedence is by the length of the
service's name, then of the method's, then by the number of headers; regular expressions, whose place it leaves open,
stand before everything but an exact path, as those of HTTPRoutes do.
"""

from dataclasses import replace
from typing import Literal

from meshd.config.grpc_route import GRPCMatch, GRPCMethodMatch, GRPCRule
from meshd.config.http_route import HeaderMatch, HTTPMatch, HTTPRule, PathMatch
from meshd.routing.matcher import KIND_RANK, Match, compile_match

ANY = "[^/]+"  # a service or method that a regular expression leaves open


def compile_call(match: GRPCMatch) -> tuple[Match, str]:
    """The compiled match, and its path as spans and metrics write it."""
    call = match.method or GRPCMethodMatch.model_construct()
    service, method = call.service, call.method
    kind: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    path, template = "/", f"/{service or '*'}/{method or '*'}"
    if call.type == "RegularExpression":
        kind, path = "RegularExpression", f"/(?:{service or ANY})/(?:{method or ANY})"
    elif service and method:
        kind, path = "Exact", template
    elif service:
        path = f"/{service}"
    headers = [HeaderMatch.model_construct(type=each.type, name=each.name, value=each.value) for each in match.headers]
    where = PathMatch.model_construct(type=kind, value=path)
    compiled = compile_match(HTTPMatch.model_construct(path=where, headers=tuple(headers)))
    predicates = compiled.predicates
    if method and not service and kind == "PathPrefix":  # the table finds paths by their beginning
        ending = f"/{method}".encode()
        predicates = (lambda head: head.path.endswith(ending) and head.path.count(b"/") == 2, *predicates)
    specificity = (KIND_RANK[kind], len(service or ""), len(method or ""), compiled.specificity[3], 0)
    return replace(compiled, predicates=predicates, specificity=specificity), template


def as_http_rule(rule: GRPCRule) -> HTTPRule:
    """The same backends, weights and filters in the words of HTTPRoute; without the matches, for `compile_call`."""
    given = rule.model_dump(
        by_alias=True, exclude_unset=True, include={"name", "filters", "backend_refs", "session_persistence"}
    )
    return HTTPRule.model_validate(given)
