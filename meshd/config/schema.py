"""JSON Schemas of the accepted kinds, for editors: made from the models, so that they say what loading checks."""

from collections.abc import Mapping
from typing import TypeAlias

from meshd.config.documents import KINDS, OURS
from meshd.config.errors import did_you_mean
from meshd.config.model import ClusterResource, Model, Nullable, Resource, Unsupported
from meshd.config.policy_test import PolicyTest

# Every kind that some command reads: documents that are loaded, and cases that `meshd test` puts to them.
READ: Mapping[str, Mapping[str, type[Resource]]] = {**KINDS, "PolicyTest": {OURS: PolicyTest}}

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(kind: str) -> dict[str, Json]:
    """The schema of a kind, in its first version's form, with all versions that are accepted. Raises LookupError."""
    versions = READ.get(kind)
    if versions is None:
        hint = did_you_mean(kind, READ) or f"known kinds: {', '.join(READ)}"
        raise LookupError(f"no kind {kind!r}; {hint}")
    model = next(iter(versions.values()))
    schema: dict[str, Json] = model.model_json_schema(by_alias=True)
    _as_checked(schema, _models(model))
    properties = _mapping(schema.get("properties"))
    accepted: list[Json] = [version for version, each in versions.items() if each is model]
    properties["apiVersion"] = {"type": "string", "enum": accepted}
    properties["kind"] = {"const": kind}
    if issubclass(model, ClusterResource):
        properties["status"] = {"description": "Written by controllers; ignored."}
    return {"$schema": DIALECT, "$id": f"https://{OURS.partition('/')[0]}/schemas/{kind}.json", **schema}


def _models(root: type[Model]) -> dict[str, type[Model]]:
    """Every model below one, by the name that its schema carries."""
    found: dict[str, type[Model]] = {}
    queue: list[object] = [root]
    while queue:
        each = queue.pop()
        if isinstance(each, type) and issubclass(each, Model):
            if each.__name__ not in found:
                found[each.__name__] = each
                queue += [field.annotation for field in each.model_fields.values()]
        else:
            queue += getattr(each, "__args__", ())
    return found


def _as_checked(schema: dict[str, Json], models: Mapping[str, type[Model]]) -> None:
    """Take out what validation refuses once the types have passed: unsupported fields, null nearly everywhere."""
    parts = [schema, *(_mapping(part) for part in _mapping(schema.get("$defs")).values())]
    for part in parts:
        model = models.get(str(part.get("title", "")))
        properties = _mapping(part.get("properties"))
        for field in model.model_fields.values() if model else ():
            alias = field.alias or ""
            if any(isinstance(mark, Unsupported) for mark in field.metadata):
                properties.pop(alias, None)
            elif not any(isinstance(mark, Nullable) for mark in field.metadata):
                properties[alias] = _without_null(_mapping(properties.get(alias)))


def _without_null(part: dict[str, Json]) -> dict[str, Json]:
    """A field's schema without the choice of null, and without the title that pydantic makes of the name."""
    part = {key: value for key, value in part.items() if key != "title" and not (key == "default" and value is None)}
    choices = part.get("anyOf")
    rest: list[Json] = [choice for choice in choices if choice != {"type": "null"}] if isinstance(choices, list) else []
    return {**_mapping(rest[0]), **{key: part[key] for key in part if key != "anyOf"}} if len(rest) == 1 else part


def _mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
