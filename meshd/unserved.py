"""Standard documents and fields that are read but not acted on yet. To ignore one in silence would be a lie to whoever
wrote it, so each is an error that names the place."""

from collections.abc import Iterable, Iterator

from meshd.config.documents import Document, Documents
from meshd.config.errors import ConfigError, Path, Problem
from meshd.config.model import Resource
from meshd.config.route_filters import HTTPFilter

WHY = "is not supported yet"


def refuse_unserved(documents: Documents) -> None:
    """Raises ConfigError with every place that asks for what this version does not do."""
    problems = [*_kinds(documents), *_authorization(documents), *_routes(documents)]
    if problems:
        raise ConfigError(problems)


def _kinds(documents: Documents) -> Iterator[Problem]:
    kinds: tuple[tuple[Document[Resource], ...], ...] = (
        documents.grpc_routes,
        documents.tcp_routes,
        documents.tls_routes,
        documents.request_authentications,
        documents.destination_rules,
        documents.rate_limit_policies,
        documents.fault_policies,
    )
    for kind in kinds:
        for document in kind:
            yield _problem(document, (), f"kind {document.model.kind} {WHY}")


def _authorization(documents: Documents) -> Iterator[Problem]:
    for document in documents.authorization_policies:
        if document.model.spec.action == "CUSTOM":
            yield _problem(document, ("spec", "action"), f"action CUSTOM {WHY}")


def _routes(documents: Documents) -> Iterator[Problem]:
    for document in documents.http_routes:
        for place, rule in enumerate(document.model.spec.rules):
            at: Path = ("spec", "rules", place)
            if rule.session_persistence is not None:
                yield _problem(document, (*at, "sessionPersistence"), f"session persistence {WHY}")
            yield from _filters(document, (*at, "filters"), rule.filters)
            for index, backend in enumerate(rule.backend_refs):
                yield from _filters(document, (*at, "backendRefs", index, "filters"), backend.filters)


def _filters(document: Document[Resource], at: Path, filters: Iterable[HTTPFilter]) -> Iterator[Problem]:
    for place, each in enumerate(filters):
        if each.type in ("RequestMirror", "CORS"):
            yield _problem(document, (*at, place, "type"), f"filter {each.type} {WHY}")


def _problem(document: Document[Resource], at: Path, expected: str) -> Problem:
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
    return Problem("error", "unsupported", *document.where(at), document.title, field, "", expected)
