"""From a document's data to its model, or to every mistake in it in words. Only this file reads pydantic's errors."""

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from meshd.config.errors import Path, Problem, Rule, did_you_mean, field_name, one_of, quote
from meshd.config.model import Fault, Model, Nullable, Unsupported
from meshd.config.scalars import WORDS
from meshd.config.yaml_file import MAX_PROBLEMS, Value

M = TypeVar("M", bound=Model)

# (path, whether the key is meant and not the value) → file, line, column.
Where: TypeAlias = Callable[[Path, bool], tuple[str, int, int]]

_TYPES: Final = {
    "string_type": "expected a string",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "bool_type": "expected true or false",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
}
_BOUNDS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}
_LENGTHS: Final = {
    "string_too_long": ("at most", "max_length", ("character", "characters")),
    "string_too_short": ("at least", "min_length", ("character", "characters")),
    "too_long": ("at most", "max_length", ("entry", "entries")),
    "too_short": ("at least", "min_length", ("entry", "entries")),
}
_TRUTHS: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def examine(model: type[M], data: Value, document: str, where: Where) -> tuple[M | None, list[Problem]]:
    """The model, or None and what is wrong, in the order of the document."""
    try:
        read = model.model_validate(data)
    except ValidationError as error:
        details = [detail for detail in error.errors(include_url=False) if not _is_echo(detail)]
        found = [_Finding.from_error(detail, model) for detail in details[:MAX_PROBLEMS]]
        problems = [finding.problem(data, document, where) for finding in found]
    else:
        problems = [finding.problem(data, document, where) for finding in _findings(read, ())[:MAX_PROBLEMS]]
        if not problems:
            return read, []
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    return None, problems


def _is_echo(error: ErrorDetails) -> bool:
    """A list whose entries are wrong counts as too short as well: pydantic counts only those that are right."""
    given = error["input"]
    return error["type"] == "too_short" and isinstance(given, tuple) and len(given) >= error["ctx"]["min_length"]


class _Finding:
    """A mistake, before its place is known."""

    __slots__ = ("expected", "path", "rule", "suggestion")

    def __init__(self, path: Path, rule: Rule, expected: str, suggestion: str = "") -> None:
        self.path, self.rule, self.expected, self.suggestion = path, rule, expected, suggestion

    @staticmethod
    def from_error(error: ErrorDetails, model: type[Model]) -> "_Finding":
        """Pydantic's finding in our words."""
        path = tuple(step for step in error["loc"] if step != "[key]")
        rule, expected, suggestion = _words(error, path, model)
        return _Finding(path, rule, expected, suggestion)

    def problem(self, data: Value, document: str, where: Where) -> Problem:
        """The mistake with its place and the value found there."""
        file, line, column = where(self.path, self.rule == "unknown")
        found, value = look(data, self.path)
        given = quote(value) if found and self.rule != "unknown" else ""
        suggestion = self.suggestion
        if found and value is None and not suggestion:
            suggestion = "give it a value or remove the key"
        name = field_name(self.path)
        return Problem("error", self.rule, file, line, column, document, name, given, self.expected, suggestion)


def look(data: Value, path: Path) -> tuple[bool, Value]:
    """Whether there is anything at a path, and what."""
    for step in path:
        if isinstance(data, dict) and isinstance(step, str) and step in data:
            data = data[step]
            continue
        if isinstance(data, tuple) and isinstance(step, int) and 0 <= step < len(data):
            data = data[step]
            continue
        return False, None
    return True, data


def _words(error: ErrorDetails, path: Path, model: type[Model]) -> tuple[Rule, str, str]:
    kind, ctx, given = error["type"], error.get("ctx", {}), error["input"]
    if kind == "missing":
        return "missing", "required, but missing", ""
    if kind == "extra_forbidden":
        return "unknown", f"unknown field {quote(path[-1])}", _known(path, model)
    if kind in _TYPES:
        return "type", _TYPES[kind], _retype(kind, given)
    if kind == "literal_error":
        choices = _choices(annotation_at(model, path))
        return "value", one_of(choices), did_you_mean(str(given), [name for name in choices if isinstance(name, str)])
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return "value", f"expected {word} {ctx[key]}", ""
    if kind in _LENGTHS:
        word, key, units = _LENGTHS[kind]
        return "value", f"expected {word} {ctx[key]} {units[ctx[key] != 1]}", ""
    if kind == "string_pattern_mismatch":
        return "value", f"expected {WORDS.get(ctx['pattern'], 'text that matches ' + ctx['pattern'])}", ""
    if kind == "refused":
        return "value", ctx["expected"], ""
    return "value", error["msg"], ""


def _known(path: Path, model: type[Model]) -> str:
    parent = annotation_at(model, path[:-1])
    names = aliases(parent) if isinstance(parent, type) and issubclass(parent, Model) else {}
    return did_you_mean(str(path[-1]), names) or f"known fields: {', '.join(sorted(names)) or 'none'}"


def _retype(kind: str, given: object) -> str:
    if given is None:
        return ""
    if kind == "string_type" and isinstance(given, (bool, int, float)):
        return f'put it in quotes: "{quote(given)}"'
    if kind in ("int_type", "float_type") and isinstance(given, str) and given.lstrip("-").isdigit():
        return f"remove the quotes: {given}"
    if kind == "bool_type" and isinstance(given, str):
        meant = _TRUTHS.get(given.lower(), given.lower())
        return f"did you mean {meant}?" if meant in ("true", "false") else ""
    if kind == "tuple_type":
        return "write '- ' before each entry"
    return ""


def _choices(annotation: object) -> tuple[str | int, ...]:
    return tuple(choice for choice in get_args(annotation) if isinstance(choice, (str, int)))


def aliases(model: type[Model]) -> Mapping[str, str]:
    """What documents call each field, and what the class calls it."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def annotation_at(model: type[Model], path: Path) -> object:
    """The type that the models declare at a path, without None and Annotated; None where they declare nothing."""
    current: object = model
    for step in path:
        if isinstance(current, type) and issubclass(current, Model):
            name = aliases(current).get(str(step))
            current = plain_type(current.model_fields[name].annotation) if name else None
        elif get_origin(current) is tuple:
            current = plain_type(get_args(current)[0])
        elif get_origin(current) is dict:
            current = plain_type(get_args(current)[1])
        else:
            return None
    return current


def plain_type(annotation: object) -> object:
    """A type without `Annotated` and `| None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return plain_type(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        rest = [choice for choice in get_args(annotation) if choice is not type(None)]
        return plain_type(rest[0]) if len(rest) == 1 else annotation
    return annotation


@dataclass(frozen=True, slots=True)
class _Rules:
    """What to look at in a field, made once for each model."""

    alias: str
    is_nullable: bool
    unsupported: Unsupported | None


@cache
def _rules_of(model: type[Model]) -> Mapping[str, _Rules]:
    return {
        name: _Rules(
            field.alias or name,
            any(isinstance(mark, Nullable) for mark in field.metadata),
            next((mark for mark in field.metadata if isinstance(mark, Unsupported)), None),
        )
        for name, field in model.model_fields.items()
    }


def _findings(model: Model, at: Path) -> list[_Finding]:
    """What pydantic does not look for: marks, nulls, and faults between fields, of a model and all below it."""
    found: list[_Finding] = []
    rules = _rules_of(type(model))
    for name in model.model_fields_set:
        value, rule = getattr(model, name), rules[name]
        if value is None and not rule.is_nullable:
            found.append(_Finding((*at, rule.alias), "type", "null is not a value of this field"))
        elif rule.unsupported is not None:
            expected = f"{rule.alias} is a standard field that is not supported: {rule.unsupported.why}"
            found.append(_Finding((*at, rule.alias), "unsupported", expected))
        elif isinstance(value, (Model, tuple, dict)):
            found += _below(value, (*at, rule.alias))
    if type(model).faults is not Model.faults:
        found += [_from_fault(fault, at) for _, fault in zip(range(MAX_PROBLEMS), model.faults(), strict=False)]
    return found


def _below(value: object, at: Path) -> list[_Finding]:
    if isinstance(value, Model):
        return _findings(value, at)
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, tuple):
        items = enumerate(value)
    elif isinstance(value, dict):
        items = value.items()
    found: list[_Finding] = []
    for step, item in items:
        if isinstance(item, (Model, tuple, dict)):
            found += _below(item, (*at, step))
    return found


def _from_fault(fault: Fault, at: Path) -> _Finding:
    return _Finding((*at, *fault.at), fault.rule, fault.expected, fault.suggestion)
