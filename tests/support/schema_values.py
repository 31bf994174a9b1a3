"""Values that a schema of a CRD accepts: any, such as break none of its rules, or such as break one and no other."""

import re
import string
from dataclasses import dataclass

from support.openapi import broken_here, combinations, defaulted, violations

MENDS = 200  # changes that a value is tried with


@dataclass(frozen=True)
class Site:
    """A rule, and the schema that it belongs to: the way there is names of fields, and `[]` and `{}` for what is in a
    list and a map."""

    path: tuple[str, ...]
    rule: str


def sites(schema, path=()):
    """Every rule of a schema."""
    for each in schema.get("x-kubernetes-validations", ()):
        yield Site(path, each["rule"])
    for step, part in _inside(schema).items():
        yield from sites(part, (*path, step))


def _inside(schema):
    parts = dict(schema.get("properties", {}))
    for step, key in (("[]", "items"), ("{}", "additionalProperties")):
        if isinstance(schema.get(key), dict):
            parts[step] = schema[key]
    return parts


class Generator:
    """Makes values.

    `words` gives strings for fields by name, `skip` names fields to leave out, `odd` are strings to try when a rule is
    to be broken.
    """

    def __init__(self, random, words=None, skip=(), odd=()):
        self.random = random
        self.words = words or {}
        self.skip = frozenset(skip)
        self.odd = odd
        self._mends = False
        self._is_odd = False
        self._chance = 0.0  # of fields that need not be; 0 for as many as make a large value

    def value(self, schema):
        """One that is right in its form."""
        return self._make(schema, "", 0)

    def sound(self, schema):
        """One that breaks no rule either, as far as trying gets there."""
        self._mends = True
        return self._make(schema, "", 0)

    def breaking(self, schema, site):
        """One that breaks the rule of a site and no other, as far as trying gets there."""
        self._mends, self._chance = True, 0.2
        return self._toward(schema, site.path, site.rule, "", 0)

    # -- rules -------------------------------------------------------------------------------------------------------

    def _toward(self, schema, path, rule, name, depth):
        if not path:
            self._is_odd = True
            value = self._first(schema, name, depth)
            value = self._mended(schema, value, name, depth, goal=rule)
            self._is_odd = False
            return value
        step, *rest = path
        inner = self._toward(_inside(schema)[step], rest, rule, step if step.isalpha() else name, depth + 1)
        if step == "[]":
            return self._mended(schema, (inner,), name, depth, kept=0)
        if step == "{}":
            return {"80": inner}
        return self._mended(schema, self._first(schema, name, depth) | {step: inner}, name, depth, kept=step)

    def _mended(self, schema, value, name, depth, *, kept=None, goal=""):
        """Change one thing after the other, but for what is `kept`, as long as there is harm in the value.

        On the way to a goal a step back now and then: one rule may have to be broken for another to be.
        """
        harm = _harm(schema, value, goal)
        for _ in range(MENDS):
            if not harm:
                break
            changed = self._changed(schema, value, name, depth, kept)
            now = _harm(schema, changed, goal)
            if now <= harm or (goal and self.random.random() < 0.1):
                value, harm = changed, now
        return value

    def _changed(self, schema, value, name, depth, kept):
        if isinstance(value, dict) and "properties" in schema:
            picked = self.random.choice([*schema["properties"]])
            if picked == kept or (picked in self.skip and picked not in value):
                return value
            if picked in value and picked not in schema.get("required", ()) and self.random.random() < 0.6:
                return {key: item for key, item in value.items() if key != picked}
            return value | {picked: self._make(schema["properties"][picked], picked, depth + 1)}
        if isinstance(value, tuple) and value and self.random.random() < 0.6:
            place = self.random.randrange(len(value))
            if place == kept or self.random.random() < 0.5:
                return (*value, value[place])
            other = self._changed(schema["items"], value[place], name, depth + 1, None)
            return (*value[:place], other, *value[place + 1 :])
        if isinstance(value, tuple) and len(value) > max(schema.get("minItems", 0), kept == 0):
            place = self.random.randrange(kept == 0, len(value))
            return value[:place] + value[place + 1 :]
        if kept is not None:
            return value
        if isinstance(value, str) and not schema.get("minLength") and self.random.random() < 0.3:
            return ""
        return self._first(schema, name, depth)

    # -- the form ----------------------------------------------------------------------------------------------------

    def _make(self, schema, name, depth):
        made = self._first(schema, name, depth)
        if self._mends and ("x-kubernetes-validations" in schema or "oneOf" in schema):
            made = self._mended(schema, made, name, depth)
        return made

    def _first(self, schema, name, depth):
        kind = schema.get("type")
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            low, high = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
            items = [
                self._make(schema.get("items", {}), name, depth + 1) for _ in range(self.random.randint(low, high))
            ]
            if schema.get("x-kubernetes-list-type") in ("set", "map"):
                items = list({self._identity(schema, item): item for item in items}.values())
            return tuple(items)
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind in ("integer", "number"):
            low = max(schema.get("minimum", 0), 0)
            return self.random.choice([low, low + 1, min(schema.get("maximum", low + 99), low + 99)])
        return self._text(schema, name)

    def _identity(self, schema, item):
        keys = schema.get("x-kubernetes-list-map-keys", ())
        return repr([item.get(key) for key in keys]) if keys else repr(item)

    def _object(self, schema, depth):
        if "properties" not in schema:
            rest = schema.get("additionalProperties")
            key = self.random.choice(self.odd) if self._is_odd else "80"
            return {key: self._make(rest, "", depth + 1)} if isinstance(rest, dict) else {}
        chance = self._chance or (0.7 if depth < 3 else 0.35)
        made = {}
        for name, part in schema["properties"].items():
            needed = name in schema.get("required", ())
            if needed or (name not in self.skip and self.random.random() < chance):
                made[name] = self._make(part, name, depth + 1)
        return made

    def _text(self, schema, name):
        if self._is_odd and self.random.random() < 0.5:
            picked = self.random.choice(self.odd)
            if not violations(schema, picked):
                return picked
        pattern = re.compile(schema.get("pattern", ""))
        letters = "".join(self.random.choices(string.ascii_lowercase, k=max(schema.get("minLength", 1), 4)))
        choices = [*self.words.get(name, ()), letters, "10s", "/" + letters, "https://example.com", "a.example.com"]
        picked = self.random.choice(self.words[name]) if name in self.words else letters
        fitting = [picked, *choices]
        return next(text for text in fitting if pattern.search(text) and len(text) >= schema.get("minLength", 0))


def _harm(schema, value, goal=""):
    """How much is wrong with this value as a whole; where a rule is the goal, that it holds is wrong."""
    broken = [*broken_here(schema, defaulted(schema, value)), *combinations(schema, value, "")]
    if isinstance(value, tuple):
        broken += violations(schema, value)
    if not goal:
        return len(broken)
    return len(broken) - broken.count(goal) + 2 * (goal not in broken)
