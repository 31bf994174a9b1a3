"""Standard documents and fields that are read but not acted on yet. To ignore one in silence would be a lie to whoever
wrote it, so each is an error that names the place."""

import re
from collections.abc import Iterator, Sequence

from meshd.config.authorization import AuthorizationPolicy
from meshd.config.backend_policy import SocketOptions
from meshd.config.documents import Document, Documents
from meshd.config.errors import ConfigError, Path, Problem
from meshd.config.grpc_route import GRPCBackendRef, GRPCHeaderMatch, GRPCMatch, GRPCRule
from meshd.config.http_route import HeaderMatch, HTTPBackendRef, HTTPMatch, HTTPRule
from meshd.config.model import Resource
from meshd.config.policy_match import PolicyMatch
from meshd.config.request_authentication import JwtRule
from meshd.config.route_filters import GRPCFilter, HTTPFilter
from meshd.filters.jwks import InvalidKey, read_key_set
from meshd.http.framing import CONNECTION_FIELDS
from meshd.unserved_destinations import unserved_parts

WHY = "is not supported yet"
THE_CONNECTION_S = "belongs to one connection: the codec takes it out, and no policy sees or edits it"
_HEADER_KEY = re.compile(r"request\.headers\[(.+)\]")
_SEEN = frozenset((b"host", b"upgrade"))  # the codec takes these out too, but what they say is known


def refuse_unserved(documents: Documents) -> None:
    """Raises ConfigError with every place that asks for what this version does not do."""
    problems = [*_kinds(documents), *_authorization(documents), *_routes(documents), *_backends(documents)]
    problems += [*_limits_and_faults(documents), *_tokens(documents)]
    if problems:
        raise ConfigError(problems)


def _kinds(documents: Documents) -> Iterator[Problem]:
    kinds: tuple[tuple[Document[Resource], ...], ...] = (
        documents.tcp_routes,
        documents.tls_routes,
    )
    for kind in kinds:
        for document in kind:
            yield _problem(document, (), f"kind {document.model.kind} {WHY}")


def _authorization(documents: Documents) -> Iterator[Problem]:
    for document in documents.authorization_policies:
        yield from _conditions(document)


def _tokens(documents: Documents) -> Iterator[Problem]:
    for document in documents.request_authentications:
        for place, rule in enumerate(document.model.spec.jwt_rules):
            at: Path = ("spec", "jwtRules", place)
            if not rule.jwks and not rule.keys_uri:
                yield _problem(document, at, "keys are not looked for by the issuer's name: set jwks or jwksUri")
            elif rule.jwks:
                try:
                    read_key_set(rule.jwks)
                except InvalidKey as error:
                    yield _problem(document, (*at, "jwks"), f"expected keys that can verify a signature: {error}")
            for name, field in _fields_of(rule):
                if field.lower().encode() in CONNECTION_FIELDS:
                    yield _problem(document, (*at, *name), f"field {field!r} {THE_CONNECTION_S}")


def _fields_of(rule: JwtRule) -> Iterator[tuple[Path, str]]:
    yield from ((("fromHeaders", place, "name"), each.name) for place, each in enumerate(rule.from_headers))
    yield ("outputPayloadToHeader",), rule.output_payload_to_header
    for place, each in enumerate(rule.output_claim_to_headers):
        yield ("outputClaimToHeaders", place, "header"), each.header


def _conditions(document: Document[AuthorizationPolicy]) -> Iterator[Problem]:
    for place, rule in enumerate(document.model.spec.rules):
        for index, condition in enumerate(rule.when):
            at: Path = ("spec", "rules", place, "when", index, "key")
            header = _HEADER_KEY.fullmatch(condition.key)
            if condition.key.startswith("experimental."):
                yield _problem(document, at, f"metadata of other filters {WHY}")
            elif header is not None and not _is_seen(header[1]):
                yield _problem(document, at, f"field {header[1]!r} {THE_CONNECTION_S}")


def _is_seen(name: str) -> bool:
    field = name.lower().encode()
    return field in _SEEN or field not in CONNECTION_FIELDS


def _all_rules(documents: Documents) -> Iterator[tuple[Document[Resource], Sequence[HTTPRule | GRPCRule]]]:
    yield from ((each, each.model.spec.rules) for each in documents.http_routes)
    yield from ((each, each.model.spec.rules) for each in documents.grpc_routes)


def _routes(documents: Documents) -> Iterator[Problem]:
    for document, rules in _all_rules(documents):
        for place, rule in enumerate(rules):
            at: Path = ("spec", "rules", place)
            token = rule.session_persistence.header if rule.session_persistence is not None else None
            if token is not None and token.name.lower().encode() in CONNECTION_FIELDS:
                carrier: Path = (*at, "sessionPersistence", "header", "name")
                yield _problem(document, carrier, f"field {token.name!r} {THE_CONNECTION_S}")
            matches: Sequence[HTTPMatch | GRPCMatch] = rule.matches
            for index, match in enumerate(matches):
                headers: Sequence[HeaderMatch | GRPCHeaderMatch] = match.headers
                for number, header in enumerate(headers):
                    if not _is_seen(header.name):
                        where = (*at, "matches", index, "headers", number, "name")
                        yield _problem(document, where, f"field {header.name!r} {THE_CONNECTION_S}")
            yield from _filters(document, (*at, "filters"), rule.filters)
            backends: Sequence[HTTPBackendRef | GRPCBackendRef] = rule.backend_refs
            for index, backend in enumerate(backends):
                yield from _filters(document, (*at, "backendRefs", index, "filters"), backend.filters)


def _limits_and_faults(documents: Documents) -> Iterator[Problem]:
    for document in documents.fault_policies:
        for place, rule in enumerate(document.model.spec.rules):
            at: Path = ("spec", "rules", place)
            if rule.header is not None and not _is_seen(rule.header):
                yield _problem(document, (*at, "header"), f"field {rule.header!r} {THE_CONNECTION_S}")
            yield from _policy_match(document, at, rule.match)
    for limits in documents.rate_limit_policies:
        for place, limit in enumerate(limits.model.spec.rules):
            at = ("spec", "rules", place)
            if limit.header and not _is_seen(limit.header):
                yield _problem(limits, (*at, "key"), f"field {limit.header!r} {THE_CONNECTION_S}")
            yield from _policy_match(limits, at, limit.match)
    for requests in documents.request_policies:
        for place, request in enumerate(requests.model.spec.rules):
            at = ("spec", "rules", place)
            yield from _policy_match(requests, at, request.match)
            for edit in request.respond.headers if request.respond is not None else ():
                if edit.name.lower().encode() in CONNECTION_FIELDS:
                    yield _problem(requests, (*at, "respond", "headers"), f"field {edit.name!r} {THE_CONNECTION_S}")


def _policy_match(document: Document[Resource], at: Path, match: PolicyMatch | None) -> Iterator[Problem]:
    for number, header in enumerate(match.headers if match is not None else ()):
        if not _is_seen(header.name):
            where = (*at, "match", "headers", number, "name")
            yield _problem(document, where, f"field {header.name!r} {THE_CONNECTION_S}")


def _filters(document: Document[Resource], at: Path, filters: Sequence[HTTPFilter | GRPCFilter]) -> Iterator[Problem]:
    for place, each in enumerate(filters):
        for field, modifier in (
            ("requestHeaderModifier", each.request_header_modifier),
            ("responseHeaderModifier", each.response_header_modifier),
        ):
            if modifier is not None:
                names = [edit.name for edit in (*modifier.set, *modifier.add)] + list(modifier.remove)
                for name in names:
                    if name.lower().encode() in CONNECTION_FIELDS:
                        yield _problem(document, (*at, place, field), f"field {name!r} {THE_CONNECTION_S}")


def _backends(documents: Documents) -> Iterator[Problem]:
    for rule in documents.destination_rules:
        for place, what in unserved_parts(rule.model):
            yield _problem(rule, place, f"{what} {WHY}")
    for document in documents.backend_policies:
        spec = document.model.spec
        asked: tuple[tuple[bool, Path, str], ...] = (
            (spec.health_check is not None, ("healthCheck",), "active health checking"),
            *_sockets(spec.socket),
            (spec.tls.early_data, ("tls", "earlyData"), "early data"),
        )
        for is_asked, at, what in asked:
            if is_asked:
                yield _problem(document, ("spec", *at), f"{what} {WHY}")


def _sockets(given: SocketOptions) -> Iterator[tuple[bool, Path, str]]:
    """Options other than those that are set."""
    for name, field in (
        ("keepalive", "keepalive"),
        ("user_timeout", "userTimeout"),
        ("no_delay", "noDelay"),
        ("fast_open", "fastOpen"),
    ):
        yield given.has(name), ("socket", field), "a choice of this socket option"


def _problem(document: Document[Resource], at: Path, expected: str) -> Problem:
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
    return Problem("error", "unsupported", *document.where(at), document.title, field, "", expected)
