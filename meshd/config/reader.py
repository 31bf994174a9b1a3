"""From one file to its documents and problems: finds the model that a document names, and has it examined."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from meshd.config.documents import IGNORED_KINDS, KINDS, UNSUPPORTED_KINDS, Document
from meshd.config.errors import Path as FieldPath
from meshd.config.errors import Problem, did_you_mean, one_of, quote
from meshd.config.examine import examine
from meshd.config.model import Resource
from meshd.config.spot import Spot
from meshd.config.yaml_file import MAX_BYTES, MAX_PROBLEMS, Text, Value, parse

LIST: Final = "List"
MAX_TITLE: Final = 400  # the longest valid names fit

Entry: TypeAlias = tuple[Document[Resource], Value]


def read_file(file: Path, environ: Mapping[str, str] | None = None) -> tuple[list[Text], list[Problem]]:
    """The texts in a file, or why there are none."""
    content = read_content(file)
    return ([], [content]) if isinstance(content, Problem) else parse(content, str(file), environ)


def read_content(file: Path) -> bytes | Problem:
    """What is in a file, as much of it as may be and one byte more."""
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        return Problem("error", "file", str(file), expected=f"cannot be read: {error.strerror or error}")


def read_document(text: Text, file: str) -> tuple[list[Entry], list[Problem]]:
    """The documents of one YAML document: none when it is empty, several when it is a List."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    errors = 0
    if unknown := _unknown_list(text, file):
        return [], [unknown]
    for data, spot in flatten(text.data, text.spot):
        if errors >= MAX_PROBLEMS:
            break
        entry, trouble = _read_one(data, spot, file)
        problems += trouble
        errors += count_errors(trouble)
        if entry is not None:
            entries.append((entry, data))
    return entries, problems


def count_errors(problems: Iterable[Problem]) -> int:
    """How many of the problems are not just warnings."""
    return sum(problem.severity == "error" for problem in problems)


def flatten(data: Value, spot: Spot) -> Iterator[tuple[Value, Spot]]:
    """A document, or the items of a List (`kubectl get -o yaml` writes one). Lists do not nest."""
    if data is None:
        return
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(kind, str) or not kind.endswith(LIST):
        yield data, spot
        return
    items = data.get("items")
    if not isinstance(items, tuple):
        yield data, spot
        return
    for place, item in enumerate(items):
        yield item, spot.find(("items", place))


def empty_list(data: Value) -> str:
    """The kind that a List without items says there is none of, "List" for all; empty for any other document."""
    kind = data.get("kind") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(kind, str) and kind.endswith(LIST) and data.get("items") == ():
        return kind.removesuffix(LIST) or LIST
    return ""


def _unknown_list(text: Text, file: str) -> Problem | None:
    """A List of no items and of a kind that nobody knows: it would say "none", and nobody knows of what."""
    kind = empty_list(text.data)
    if kind in ("", LIST) or kind in KINDS or kind in IGNORED_KINDS:
        return None
    spot, lists = text.spot.find(("kind",)), [LIST, *(f"{each}{LIST}" for each in KINDS)]
    given = f"{kind}{LIST}"
    at = (file, spot.line, spot.column, title_of(text.data), "kind", quote(given))
    return Problem("error", "value", *at, "expected a List, or that of a known kind", did_you_mean(given, lists))


def title_of(data: Value) -> str:
    """`Kind namespace/name` as far as the data says it."""
    if not isinstance(data, dict):
        return ""
    metadata = data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    kind, name, namespace = data.get("kind"), metadata.get("name"), metadata.get("namespace", "default")
    where = f" {namespace}/{name}" if isinstance(name, str) and isinstance(namespace, str) else ""
    return f"{kind}{where}"[:MAX_TITLE] if isinstance(kind, str) else ""


def _read_one(data: Value, spot: Spot, file: str) -> tuple[Document[Resource] | None, list[Problem]]:
    def where(path: FieldPath, key: bool) -> tuple[str, int, int]:  # noqa: FBT001  # the shape of examine.Where
        at = spot.find(path)
        return (file, at.key_line, at.key_column) if key else (file, at.line, at.column)

    model, problem = model_for(data, spot, file)
    if model is None:
        return None, [problem] if problem is not None else []
    read, problems = examine(model, data, title_of(data), where)
    return (Document(read, file, spot) if read is not None else None), problems


def model_for(data: Value, spot: Spot, file: str) -> tuple[type[Resource] | None, Problem | None]:
    """The model that a document's kind and version name, or why there is none."""
    title = title_of(data)

    def problem(field: str, given: Value, expected: str, suggestion: str = "") -> Problem:
        at = spot.find((field,))
        shown = quote(given) if given is not None else ""
        return Problem("error", "value", file, at.line, at.column, title, field, shown, expected, suggestion)

    if not isinstance(data, dict):
        return None, problem("", data, "expected a document: a mapping with apiVersion, kind, metadata and spec")
    kind, version = data.get("kind"), data.get("apiVersion")
    for field, value in (("kind", kind), ("apiVersion", version)):
        if not isinstance(value, str):
            return None, problem(field, value, f"required: the {field} of the document, a string")
    assert isinstance(kind, str)
    assert isinstance(version, str)
    if kind not in KINDS:
        return None, _other_kind(kind, problem("kind", kind, "expected a known kind", did_you_mean(kind, KINDS)))
    if version not in KINDS[kind]:
        suggestion = did_you_mean(version, KINDS[kind])
        return None, problem("apiVersion", version, one_of(tuple(KINDS[kind])), suggestion)
    return KINDS[kind][version], None


def _other_kind(kind: str, unknown: Problem) -> Problem:
    """What to say of a kind that has no model."""
    if kind in IGNORED_KINDS:
        at = (unknown.file, unknown.line, unknown.column, unknown.document)
        return Problem("warning", "value", *at, expected=f"{kind} says nothing about traffic; it is ignored")
    if kind in UNSUPPORTED_KINDS:
        place = (unknown.file, unknown.line, unknown.column, unknown.document, "kind")
        return Problem("error", "unsupported", *place, "", f"{kind} is not supported", UNSUPPORTED_KINDS[kind])
    return unknown
