"""What is wrong with a document, where, and how to put it right: text for people, JSON for tools. No parsing here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Severity: TypeAlias = Literal["error", "warning"]

# What kind of mistake it is: the word a tool may branch on, never the sentence.
Rule: TypeAlias = Literal[
    "syntax", "unknown", "missing", "type", "value", "unsupported", "duplicate", "reference", "file"
]

SHOWN = 60  # a value is quoted up to this length: enough to find it, too little to flood a terminal


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. Lines and columns count from 1; 0 means the file as a whole."""

    severity: Severity
    rule: Rule
    file: str
    line: int = 0
    column: int = 0
    document: str = ""  # kind namespace/name
    field: str = ""  # spec.rules[0].matches
    given: str = ""  # as quoted from the document
    expected: str = ""
    suggestion: str = ""  # the whole remedy, such as "did you mean 'port'?"

    @property
    def message(self) -> str:
        """What was given, what was expected and the remedy, without the place."""
        said = f"got {self.given}, " if self.given else ""
        remedy = f"; {self.suggestion}" if self.suggestion else ""
        return f"{said}{self.expected}{remedy}"

    @property
    def place(self) -> str:
        """`file:line:column`, as editors follow it."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        parts = [self.place, f"{self.document} {self.field}".strip(), self.message]
        text = ": ".join(part for part in parts if part)
        if text.isprintable():
            return text
        # Documents may be somebody else's: what they hold must not steer the terminal that shows it.
        return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)

    def as_json(self) -> dict[str, str | int]:
        """Plain data, one key a slot."""
        return {
            "severity": self.severity,
            "rule": self.rule,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "document": self.document,
            "field": self.field,
            "given": self.given,
            "expected": self.expected,
            "suggestion": self.suggestion,
        }


class ConfigError(Exception):
    """The documents cannot be used. `problems` holds every mistake of every file, in reading order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...]]]:
        return ConfigError, (self.problems,)

    def as_json(self) -> list[dict[str, str | int]]:
        """Plain data, one entry a problem."""
        return [problem.as_json() for problem in self.problems]


def field_name(path: Path) -> str:
    """A path as people write it: `spec.rules[0].matches`; keys with dots or brackets are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif len(step) > SHOWN:
            text += f'["{step[: SHOWN - 1]}…"]'
        elif any(mark in step for mark in ".[] "):
            text += f'["{step}"]'
        else:
            text += f".{step}" if text else step
    return text


def quote(value: object) -> str:
    """A value as the document spells it, in one short line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def one_of(names: Sequence[str | int]) -> str:
    """`expected one of 'a', 'b'`, or without "one of" when there is no choice."""
    listed = ", ".join(repr(name) for name in names)
    return f"expected one of {listed}" if len(names) > 1 else f"expected {listed}"


def did_you_mean(given: str, names: Iterable[str]) -> str:
    """The nearest valid name as a question, or nothing when none is near. Case alone never hides a match."""
    if len(given) > SHOWN:  # comparing costs the square of the length, and nobody mistypes so much
        return ""
    by_lower = {name.lower(): name for name in names}
    close = get_close_matches(given.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[close[0]]!r}?" if close else ""
