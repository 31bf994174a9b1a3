"""Settings of the bootstrap that come from the environment (`MESHD_…`) or from flags, and where each one goes.

A variable is named for the field's path below `spec`, in upper case, words and steps parted by `_`:
MESHD_WORKERS, MESHD_ADMIN_LISTEN, MESHD_TELEMETRY_ACCESS_LOG_PATH, MESHD_INBOUND_0_APP. MESHD_NAME and MESHD_NAMESPACE
are those of the metadata.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_origin

from meshd.config.errors import Path, did_you_mean, field_name
from meshd.config.examine import aliases, annotation_at, plain_type
from meshd.config.model import Model
from meshd.config.proxy import Proxy, ProxySpec
from meshd.config.yaml_file import Value, parse

PREFIX: Final = "MESHD_"

# Kubernetes puts such variables into every pod of a namespace that has a Service called meshd.
_SERVICE_LINK: Final = re.compile(r"MESHD(_[A-Z0-9]+)*_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_[A-Z0-9_]+)?)\Z")
_METADATA: Final[Mapping[str, Path]] = {"NAME": ("metadata", "name"), "NAMESPACE": ("metadata", "namespace")}
_STEP: Final = re.compile(r"([^.\[\]]+)|\[([0-9]{1,4})\]")


@dataclass(frozen=True, slots=True)
class Override:
    """A value for a field, and where it came from (`env MESHD_WORKERS`, `flag spec.workers`)."""

    path: Path
    text: str
    source: str


def from_environment(environ: Mapping[str, str]) -> tuple[list[Override], list[str]]:
    """The overrides in the environment, and a sentence for each MESHD_ variable that names no field."""
    found: list[Override] = []
    strange: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        words = name.removeprefix(PREFIX)
        path = _METADATA.get(words) or _find(words.split("_"), ProxySpec, ("spec",))
        if path is not None:
            found.append(Override(path, environ[name], f"env {name}"))
        elif not _SERVICE_LINK.match(name):
            hint = did_you_mean(name, [PREFIX + known for known in (*_METADATA, *_names(ProxySpec))])
            strange.append(f"{name} names no field of a Proxy; {hint}" if hint else f"{name} names no field of a Proxy")
    return found, strange


def from_flags(flags: Mapping[str, str]) -> list[Override]:
    """The overrides of flags, by field path: `spec.workers`, or `workers` for short."""
    found: list[Override] = []
    for name, text in flags.items():
        path: Path = tuple(word or int(place) for word, place in _STEP.findall(name))
        if path[:1] not in (("spec",), ("metadata",)):
            path = ("spec", *path)
        found.append(Override(path, text, f"flag {field_name(path)}"))
    return found


def apply(data: Value, override: Override) -> Value:
    """The data with one field replaced; what is missing on the way is made."""
    return _put(data, override.path, value_of(override))


def value_of(override: Override) -> Value:
    """The text as the field's type wants it: as it stands for strings, else read as YAML."""
    wanted = annotation_at(Proxy, override.path)
    if override.text == "null":
        return None
    if wanted is str:
        return override.text
    texts, problems = parse(override.text.encode(errors="replace"), override.source)
    value = texts[0].data if len(texts) == 1 and not problems else override.text
    if get_origin(wanted) is tuple and not isinstance(value, tuple):
        return tuple(part.strip() for part in override.text.split(","))
    return value


def _put(data: Value, path: Sequence[str | int], value: Value) -> Value:
    if not path:
        return value
    step = path[0]
    if isinstance(step, str):
        pairs = data if isinstance(data, dict) else {}
        return {**pairs, step: _put(pairs.get(step), path[1:], value)}
    items = data if isinstance(data, tuple) else ()
    if step < len(items):
        return (*items[:step], _put(items[step], path[1:], value), *items[step + 1 :])
    return (*items, _put(None, path[1:], value))  # a place past the end is the end


def _find(words: Sequence[str], model: type[Model], at: Path) -> Path | None:
    """The path that these words spell below a model."""
    for alias, name in aliases(model).items():
        spelt = _spell(alias).split("_")
        if list(words[: len(spelt)]) != spelt:
            continue
        path, rest = (*at, alias), words[len(spelt) :]
        kind = plain_type(model.model_fields[name].annotation)
        if get_origin(kind) is tuple and rest and rest[0].isdigit() and len(rest[0]) <= 4:
            path, rest = (*path, int(rest[0])), rest[1:]
            kind = annotation_at(Proxy, path)
        if not rest:
            return path
        if isinstance(kind, type) and issubclass(kind, Model):
            found = _find(rest, kind, path)
            if found is not None:
                return found
    return None


def _names(model: type[Model]) -> list[str]:
    """How variables of all fields below a model are spelt, entries of lists as number 0."""
    names: list[str] = []
    for alias, name in aliases(model).items():
        spelt, kind = _spell(alias), plain_type(model.model_fields[name].annotation)
        if get_origin(kind) is tuple:
            spelt, kind = f"{spelt}_0", annotation_at(model, (alias, 0))
        if isinstance(kind, type) and issubclass(kind, Model):
            names += [f"{spelt}_{below}" for below in _names(kind)]
        else:
            names.append(spelt)
    return names


def _spell(alias: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", alias).upper()
