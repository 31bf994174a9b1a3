"""The Proxy document: read, overridden, validated, with paths made absolute and the origin of every value."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from meshd.config.errors import ConfigError, Problem, field_name
from meshd.config.errors import Path as FieldPath
from meshd.config.examine import aliases, examine, look
from meshd.config.model import Model
from meshd.config.overrides import Override, apply, from_environment, from_flags
from meshd.config.proxy import Proxy
from meshd.config.reader import model_for, read_file, title_of
from meshd.config.spot import Spot
from meshd.config.yaml_file import Text

_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


@dataclass(frozen=True, slots=True)
class LoadedProxy:
    """A valid bootstrap. `sources` says of each value: default, file:line, env NAME or flag FIELD."""

    proxy: Proxy
    file: Path
    spot: Spot
    certificates: Path | None  # the folder; None without an identity
    policies: tuple[Path, ...]
    access_log: Path | None  # None for standard output, and for no log at all
    sources: Mapping[str, str]
    problems: tuple[Problem, ...] = ()  # warnings

    @property
    def named(self) -> tuple[Path, ...]:
        """The files and folders of policies as the document names them, also where the default is not there."""
        return tuple(_absolute(self.file.parent, name) for name in self.proxy.spec.policies)

    def placed(self, error: ConfigError) -> ConfigError:
        """Mistakes in the bootstrap that compiling found know their field; this adds the line."""
        return ConfigError(self._placed(problem) for problem in error.problems)

    def _placed(self, problem: Problem) -> Problem:
        if problem.file:
            return problem
        path = tuple(word or int(number) for word, number in _STEP.findall(problem.field))
        file, line, column = self.where(path)
        return replace(problem, file=file, line=line, column=column)

    def where(self, path: FieldPath = (), *, key: bool = False) -> tuple[str, int, int]:
        """File, line and column of the value at a path, or of the nearest value around it."""
        spot = self.spot.find(path)
        file = str(self.file)
        return (file, spot.key_line, spot.key_column) if key else (file, spot.line, spot.column)

    def __repr__(self) -> str:
        return f"<LoadedProxy {self.proxy.namespace}/{self.proxy.name} {self.file}>"


def load_proxy(
    path: Path, overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> LoadedProxy:
    """The bootstrap at a path. Flags win over the environment, the environment over the document.

    `overrides` are flags by field (`spec.workers`); `environ` is the process's own when None. Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    texts, problems = read_file(path, environ)
    text = None if problems else _only_proxy(texts, path, problems)
    if problems or text is None:
        raise ConfigError(problems)
    from_env, strange = from_environment(environ)
    applied = {override.path: override for override in (*from_env, *from_flags(overrides or {}))}
    data = text.data
    for override in applied.values():
        data = apply(data, override)

    def where(at: FieldPath, key: bool) -> tuple[str, int, int]:  # noqa: FBT001  # the shape of examine.Where
        override = _override_of(at, applied)
        if override is not None:
            return override.source, 0, 0
        around = [override for target, override in applied.items() if target[: len(at)] == at]
        if around and not look(text.data, at)[0]:
            return around[0].source, 0, 0
        spot = text.spot.find(at)
        return (str(path), spot.key_line, spot.key_column) if key else (str(path), spot.line, spot.column)

    proxy, problems = examine(Proxy, data, title_of(data), where)
    if proxy is None:
        raise ConfigError(problems)
    warnings = [Problem("warning", "unknown", "environment", expected=sentence) for sentence in strange]
    return _resolve(proxy, path, text, applied, warnings)


def _only_proxy(texts: list[Text], path: Path, problems: list[Problem]) -> Text | None:
    """The one document of the file, or a problem noted."""
    full = [text for text in texts if text.data is not None]
    if len(full) != 1:
        expected = f"expected exactly one document of kind Proxy, there are {len(full)}"
        at = (full[1].spot.line, full[1].spot.column) if full else (0, 0)
        problems.append(Problem("error", "value", str(path), *at, expected=expected))
        return None
    text = full[0]
    model, problem = model_for(text.data, text.spot, str(path))
    if model is Proxy:
        return text
    if problem is None or problem.severity == "warning":
        spot = text.spot.find(("kind",))
        at = (spot.line, spot.column)
        problem = Problem("error", "value", str(path), *at, title_of(text.data), "kind", "", "expected kind Proxy")
    problems.append(problem)
    return None


def _override_of(path: FieldPath, applied: Mapping[FieldPath, Override]) -> Override | None:
    """The override that gave the value at a path, itself or one around it."""
    return next((applied[path[:end]] for end in range(len(path), 0, -1) if path[:end] in applied), None)


def _resolve(
    proxy: Proxy, file: Path, text: Text, applied: Mapping[FieldPath, Override], warnings: list[Problem]
) -> LoadedProxy:
    folder = Path(os.path.abspath(file)).parent
    spec = proxy.spec
    identity = spec.identity
    log = spec.telemetry.access_log if spec.telemetry else None
    policies = tuple(_absolute(folder, name) for name in spec.policies)
    if not spec.has("policies"):
        policies = tuple(each for each in policies if each.is_dir())  # a default that is not there is no mistake
    return LoadedProxy(
        proxy=proxy,
        file=folder / file.name,
        spot=text.spot,
        certificates=_absolute(folder, identity.certificates) if identity else None,
        policies=policies,
        access_log=_absolute(folder, log.path) if log and log.path != "-" else None,
        sources={field_name(path): source for path, source in _sources(proxy, (), str(file), text, applied)},
        problems=tuple(warnings),
    )


def _absolute(folder: Path, name: str) -> Path:
    return Path(os.path.normpath(folder / Path(name).expanduser()))


def _sources(
    model: Model, at: FieldPath, file: str, text: Text, applied: Mapping[FieldPath, Override]
) -> Iterator[tuple[FieldPath, str]]:
    """Each value of a model and where it came from."""
    for alias, name in aliases(type(model)).items():
        path, value = (*at, alias), getattr(model, name)
        items = list(enumerate(value)) if isinstance(value, tuple) and value else [(None, value)]
        for place, item in items:
            here = path if place is None else (*path, place)
            if isinstance(item, Model):
                yield from _sources(item, here, file, text, applied)
            else:
                yield here, _source(here, file, text, applied)


def _source(path: FieldPath, file: str, text: Text, applied: Mapping[FieldPath, Override]) -> str:
    override = _override_of(path, applied)
    if override is not None:
        return override.source
    spot = text.spot
    for step in path:
        child = spot.children.get(step) if spot.children else None
        if child is None:
            return "default"
        spot = child
    return f"{file}:{spot.line}" + (" (env)" if path in text.expanded else "")
