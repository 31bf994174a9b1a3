"""A small validator for OpenAPI v3 schemas as CRDs use them; `schema_values` makes values for them.

It knows types, required, properties, additionalProperties, enum, pattern, lengths, ranges, formats, list types,
nullable, and oneOf/anyOf/allOf/not; and, in `broken_rules`, x-kubernetes-validations by way of `cel`.
"""

import re

from support.cel import Broken, compiled

FORMATS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, (list, tuple)),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
}


def violations(schema, value, at=""):
    """Every way in which a value breaks a schema, as sentences."""
    if value is None:
        return [] if schema.get("nullable") else [f"{at}: null"]
    kind = schema.get("type")
    if kind in TYPES and not TYPES[kind](value):
        return [f"{at}: not of type {kind}"]
    found = [*combinations(schema, value, at)]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: not in the enum")
    if isinstance(value, str):
        found += of_string(schema, value, at)
    elif isinstance(value, dict):
        found += of_object(schema, value, at)
    elif isinstance(value, (list, tuple)):
        found += of_array(schema, value, at)
    elif not isinstance(value, bool):
        low, high = FORMATS.get(schema.get("format"), (float("-inf"), float("inf")))
        if not max(low, schema.get("minimum", low)) <= value <= min(high, schema.get("maximum", high)):
            found.append(f"{at}: out of range")
    return found


def combinations(schema, value, at):
    for part in schema.get("allOf", ()):
        yield from violations(part, value, at)
    if "anyOf" in schema and not any(not violations(part, value, at) for part in schema["anyOf"]):
        yield f"{at}: none of anyOf"
    if "oneOf" in schema and sum(not violations(part, value, at) for part in schema["oneOf"]) != 1:
        yield f"{at}: not exactly one of oneOf"
    if "not" in schema and not violations(schema["not"], value, at):
        yield f"{at}: matches not"


def of_string(schema, value, at):
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", float("inf")):
        yield f"{at}: length"
    # Go's $ ends the text; Python's would let a newline through.
    if "pattern" in schema and (value.endswith("\n") or not re.search(schema["pattern"], value)):
        yield f"{at}: pattern"


def of_object(schema, value, at):
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at}.{name}: missing"
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", float("inf")):
        yield f"{at}: number of properties"
    known, rest = schema.get("properties"), schema.get("additionalProperties")
    for name, item in value.items():
        if known and name in known:
            yield from violations(known[name], item, f"{at}.{name}")
        elif isinstance(rest, dict):
            yield from violations(rest, item, f"{at}.{name}")
        elif known and not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{at}.{name}: unknown"


def of_array(schema, value, at):
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", float("inf")):
        yield f"{at}: number of items"
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys", ())
    identities = [
        repr([item.get(key) for key in keys]) if isinstance(item, dict) and keys else repr(item) for item in value
    ]
    if kind in ("set", "map") and len(set(identities)) != len(identities):
        yield f"{at}: repeated"
    for place, item in enumerate(value):
        yield from violations(schema.get("items", {}), item, f"{at}[{place}]")


def broken_rules(schema, value):
    """The rules that a value breaks which is right in its form. As an API server does it, with defaults filled in."""
    return [rule for part, inner in _parts(schema, defaulted(schema, value)) for rule in broken_here(part, inner)]


def broken_here(schema, value):
    """The rules that are about this value as a whole, not about what is in it."""
    for each in schema.get("x-kubernetes-validations", ()):
        try:
            if compiled(each["rule"])(value) is not True:
                yield each["rule"]
        except Broken:
            yield each["rule"]


def _parts(schema, value):
    """A value and everything inside it, with its schema."""
    yield schema, value
    if isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            part = known.get(name, rest)
            if isinstance(part, dict):
                yield from _parts(part, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _parts(schema.get("items", {}), item)


def defaulted(schema, value):
    if isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties")
        filled = {name: part["default"] for name, part in known.items() if "default" in part} | value
        return {
            name: defaulted(known.get(name, rest if isinstance(rest, dict) else {}), filled[name]) for name in filled
        }
    if isinstance(value, (list, tuple)):
        return [defaulted(schema.get("items", {}), item) for item in value]
    return value
