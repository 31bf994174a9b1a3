"""A small validator, and a generator, for the structural part of OpenAPI v3 schemas as CRDs use it.

It knows types, required, properties, additionalProperties, enum, pattern, lengths, ranges, formats, list types,
nullable, and oneOf/anyOf/allOf/not. It does not know CEL (x-kubernetes-validations).
"""

import re
import string

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


class Generator:
    """Makes values that a schema accepts. `words` gives strings for fields by name."""

    def __init__(self, random, words=None, skip=()):
        self.random = random
        self.words = words or {}
        self.skip = frozenset(skip)

    def value(self, schema, name="", depth=0):
        kind = schema.get("type")
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        if kind == "object":
            return self.object(schema, depth)
        if kind == "array":
            low, high = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
            items = [
                self.value(schema.get("items", {}), name, depth + 1) for _ in range(self.random.randint(low, high))
            ]
            if schema.get("x-kubernetes-list-type") in ("set", "map"):
                items = list({self.identity(schema, item): item for item in items}.values())
            return tuple(items)
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind in ("integer", "number"):
            low = max(schema.get("minimum", 0), 0)
            return self.random.choice([low, low + 1, min(schema.get("maximum", low + 99), low + 99)])
        return self.text(schema, name)

    def identity(self, schema, item):
        keys = schema.get("x-kubernetes-list-map-keys", ())
        return repr([item.get(key) for key in keys]) if keys else repr(item)

    def object(self, schema, depth):
        if "properties" not in schema:
            rest = schema.get("additionalProperties")
            return {"80": self.value(rest, "", depth + 1)} if isinstance(rest, dict) else {}
        chance = 0.7 if depth < 3 else 0.35
        made = {}
        for name, part in schema["properties"].items():
            needed = name in schema.get("required", ())
            if needed or (name not in self.skip and self.random.random() < chance):
                made[name] = self.value(part, name, depth + 1)
        return made

    def text(self, schema, name):
        pattern = re.compile(schema.get("pattern", ""))
        letters = "".join(self.random.choices(string.ascii_lowercase, k=max(schema.get("minLength", 1), 4)))
        choices = [*self.words.get(name, ()), letters, "10s", "/" + letters, "https://example.com", "a.example.com"]
        picked = self.random.choice(self.words[name]) if name in self.words else letters
        fitting = [picked, *choices]
        return next(text for text in fitting if pattern.search(text) and len(text) >= schema.get("minLength", 0))
