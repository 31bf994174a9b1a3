"""YAML (and so JSON) text to plain data and the position of every value in it. Knows no document kinds.

Theory of operation. The C parser of PyYAML is asked for events, and a stack of our own builds the data from them: no
recursion anywhere, so that depth is a number we check and not a crash. Positions live in a tree beside the data.

Rule 1: an alias shares the node it names and counts for as many nodes as that holds; past MAX_NODES a file is refused.
Rule 2: scalars follow the YAML 1.2 core schema: only true and false are booleans, a leading zero or an underscore makes
a string, dates are strings. (YAML 1.1 would read `no` as false and `12:30` as 750.)
Rule 3: keys are strings, as in JSON; `8080:` is the key "8080". A key given twice is an error naming both places.
Rule 4: sequences become tuples, so that what was read can be kept without fear of change.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]  # it is re-exported, the stubs do not say so

from meshd.config.errors import Path, Problem, Rule, field_name, quote
from meshd.config.spot import Spot

Value: TypeAlias = "bool | int | float | str | tuple[Value, ...] | dict[str, Value] | None"

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 100
MAX_NODES: Final = 200_000
MAX_PROBLEMS: Final = 100  # of one file: more than anybody reads
NAMED_DEPTH: Final = 12  # steps of a path that a message shows; the line says the rest

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_VARIABLE = re.compile(r"\$(\$)?\{([^}]*)\}?")
_CONSTANTS: Final[dict[str, bool | float | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_CORE: Final = ("str", "int", "float", "bool", "null", "map", "seq")
_CORE_TAGS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in _CORE)


@dataclass(frozen=True, slots=True)
class Text:
    """One document as read: data, positions, and the paths whose text an environment variable supplied."""

    data: Value
    spot: Spot
    expanded: frozenset[Path] = frozenset()
    nodes: int = 0  # values, aliases counted as what they repeat


@dataclass(slots=True)
class _Frame:
    """A collection under construction."""

    mapping: bool
    anchor: str | None
    spot: tuple[int, int]
    key_spot: tuple[int, int]
    items: list[Value] = field(default_factory=list)
    pairs: dict[str, Value] = field(default_factory=dict)
    spots: dict[str | int, Spot] = field(default_factory=dict)
    merged: list[tuple[dict[str, Value], Spot]] = field(default_factory=list)
    key: str | None = None
    key_at: tuple[int, int] = (0, 0)
    merging: bool = False
    nodes: int = 1


class _Refused(Exception):
    def __init__(self, at: tuple[int, int], expected: str, *, rule: Rule = "syntax", given: str = "") -> None:
        super().__init__(expected)
        self.at, self.expected, self.rule, self.given = at, expected, rule, given


def parse(content: bytes, file: str, environ: Mapping[str, str] | None = None) -> tuple[list[Text], list[Problem]]:
    """All documents of a file. After a mistake in the syntax nothing more can be read, so what was read before it comes
    back with the problem. With `environ`, `${NAME}` in scalars is replaced and `$${` stands for `${`.
    """
    if len(content) > MAX_BYTES:
        given, expected = f"{len(content)} octets", f"a document file has at most {MAX_BYTES} octets"
        return [], [Problem("error", "file", file, given=given, expected=expected)]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        at = (before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        return [], [Problem("error", "syntax", file, *at, expected="expected UTF-8 text")]
    reader = _Reader(file, environ)
    try:
        reader.read(text)
    except _Refused as error:
        reader.problem(error)
    except yaml.MarkedYAMLError as error:
        # What is never closed is missed at the end of the text; where it was opened says more.
        ends = error.problem_mark is not None and error.problem_mark.index >= len(text)
        mark = (error.context_mark or error.problem_mark) if ends else (error.problem_mark or error.context_mark)
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        told = " ".join(part for part in (error.context, error.problem) if part)
        reader.problem(_Refused(at, f"not YAML: {told}"))
    except yaml.reader.ReaderError as error:
        before_text = text.encode()[: error.position].decode(errors="ignore")
        at = (before_text.count("\n") + 1, len(before_text) - before_text.rfind("\n"))
        reader.problem(_Refused(at, f"not YAML: {error.reason}"))
    except (yaml.YAMLError, ValueError) as error:  # the binding raises ValueError for a few malformed directives
        reader.problem(_Refused((1, 1), f"not YAML: {error}"))
    return reader.texts, reader.problems


def resolve(text: str) -> Value:
    """A plain scalar by the YAML 1.2 core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.match(text) and len(text) <= 40:
        return int(text)
    if _FLOAT.match(text) and len(text) <= 40:
        return float(text)
    return text


class _Reader:
    """Builds documents from events, one file long."""

    __slots__ = (
        "act_on",
        "anchors",
        "counted",
        "environ",
        "expanded",
        "file",
        "nodes",
        "problems",
        "root",
        "stack",
        "texts",
    )

    def __init__(self, file: str, environ: Mapping[str, str] | None) -> None:
        self.file = file
        self.environ = environ
        self.texts: list[Text] = []
        self.problems: list[Problem] = []
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Value, Spot, int]] = {}
        self.root: tuple[Value, Spot] | None = None
        self.expanded: set[Path] = set()
        self.act_on: dict[type[yaml.Event], Callable[[yaml.Event, tuple[int, int]], None]] = {
            yaml.AliasEvent: self.alias,
            yaml.MappingStartEvent: self.open,
            yaml.SequenceStartEvent: self.open,
            yaml.MappingEndEvent: self.close,
            yaml.SequenceEndEvent: self.close,
            yaml.DocumentStartEvent: self.begin_document,
            yaml.DocumentEndEvent: self.end_document,
        }
        self.nodes = 0
        self.counted = 0  # of those, in documents that have ended

    def problem(self, error: _Refused) -> None:
        """Note what stopped the reading, or what was wrong but did not."""
        if len(self.problems) >= MAX_PROBLEMS:
            return
        path = field_name(self.path()[:NAMED_DEPTH])
        self.problems.append(
            Problem("error", error.rule, self.file, *error.at, field=path, given=error.given, expected=error.expected)
        )

    def path(self) -> Path:
        """Where in the document the reader is."""
        return tuple(frame.key or "?" if frame.mapping else len(frame.items) for frame in self.stack)

    def read(self, text: str) -> None:
        """Consume every event of the text."""
        parser = CParser(text)
        get_event, act_on, scalar = parser.get_event, self.act_on, self.scalar
        try:
            while (event := get_event()) is not None:
                mark = event.start_mark
                at = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
                if type(event) is yaml.ScalarEvent:  # most are
                    scalar(event, at)
                elif (act := act_on.get(type(event))) is not None:
                    act(event, at)
        finally:
            parser.dispose()

    def begin_document(self, _event: yaml.Event, _at: tuple[int, int]) -> None:
        """Nothing of the document before is left."""
        self.anchors, self.root, self.expanded = {}, None, set()

    def end_document(self, _event: yaml.Event, _at: tuple[int, int]) -> None:
        """It is whole."""
        if self.root is not None:
            self.texts.append(Text(*self.root, frozenset(self.expanded), self.nodes - self.counted))
            self.counted = self.nodes

    def scalar(self, event: yaml.ScalarEvent, at: tuple[int, int]) -> None:
        """A key, or a value that is not a collection."""
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.mapping and frame.key is None:
            self.begin_pair(frame, event, at)
            return
        self.check_tag(event.tag, at)
        text = event.value
        if self.environ is not None and "${" in text:
            text = self.expand(text, at)
        plain = event.implicit[0] and event.tag is None
        self.add(resolve(text) if plain else text, at, nodes=1, anchor=event.anchor)

    def begin_pair(self, frame: _Frame, event: yaml.ScalarEvent, at: tuple[int, int]) -> None:
        """Take a key."""
        key = event.value
        frame.merging = key == "<<" and event.implicit[0]
        frame.key, frame.key_at = key, at
        if key in frame.pairs:
            first = frame.spots[key]
            given = f"{quote(key)} twice"
            twice = f"a key may stand once; it stands first in line {first.key_line}, column {first.key_column}"
            self.problem(_Refused(at, twice, rule="duplicate", given=given))

    def expand(self, text: str, at: tuple[int, int]) -> str:
        """Put the environment's values in; a variable that is not set is an error, never the empty string."""

        def value(found: re.Match[str]) -> str:
            escaped, name = found.groups()
            if escaped:
                return found.group()[1:]
            set_to = (self.environ or {}).get(name)
            if set_to is None:
                expected = f"the environment variable {quote(name)} is not set; set it, or write $${{ for a literal ${{"
                self.problem(_Refused(at, expected, rule="value", given=quote(text)))
                return text
            self.expanded.add(self.path())
            return set_to

        return _VARIABLE.sub(value, text)

    def check_tag(self, tag: str | None, at: tuple[int, int]) -> None:
        """Only the tags of JSON's types make sense here."""
        if tag is not None and tag not in _CORE_TAGS and tag != "!":
            raise _Refused(at, f"the tag {quote(tag)} is not supported; write plain YAML")

    def alias(self, event: yaml.Event, at: tuple[int, int]) -> None:
        """Repeat an anchored value."""
        anchor = event.anchor if isinstance(event, yaml.AliasEvent) else None
        if self.stack and self.stack[-1].mapping and self.stack[-1].key is None:
            raise _Refused(at, "a key must be a plain string, not an alias")
        found = self.anchors.get(anchor or "")
        if found is None:
            raise _Refused(at, f"the alias {quote(anchor)} names no finished anchor of this document")
        value, spot, nodes = found
        self.add(value, at, nodes=nodes, children=spot.children)

    def open(self, event: yaml.Event, at: tuple[int, int]) -> None:
        """Begin a mapping or a sequence."""
        assert isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
        self.check_tag(event.tag, at)
        parent = self.stack[-1] if self.stack else None
        if parent is not None and parent.mapping and parent.key is None:
            raise _Refused(at, "a key must be a plain string, not a collection")
        if len(self.stack) >= MAX_DEPTH:
            raise _Refused(at, f"nested deeper than {MAX_DEPTH} levels")
        key_at = parent.key_at if parent is not None and parent.mapping else at
        self.stack.append(_Frame(isinstance(event, yaml.MappingStartEvent), event.anchor, at, key_at))

    def close(self, _event: yaml.Event, _at: tuple[int, int]) -> None:
        """End the innermost collection."""
        frame = self.stack.pop()
        for pairs, spot in frame.merged:
            for key, merged in pairs.items():
                if key not in frame.pairs and spot.children:
                    frame.pairs[key], frame.spots[key] = merged, spot.children[key]
        value: Value = frame.pairs if frame.mapping else tuple(frame.items)
        self.nodes -= frame.nodes - 1  # add() counts the whole again
        self.add(value, frame.spot, nodes=frame.nodes, anchor=frame.anchor, children=frame.spots)

    def add(
        self,
        value: Value,
        at: tuple[int, int],
        *,
        nodes: int,
        anchor: str | None = None,
        children: "dict[str | int, Spot] | None" = None,
    ) -> None:
        """Put a finished value into its collection, or make it the document."""
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise _Refused(at, f"more than {MAX_NODES} values, aliases counted as what they repeat")
        frame = self.stack[-1] if self.stack else None
        spot = Spot(*at, *(frame.key_at if frame is not None and frame.mapping else at), children)
        if anchor is not None:
            self.anchors[anchor] = (value, spot, nodes)
        if frame is None:
            self.root = (value, spot)
            return
        frame.nodes += nodes
        if not frame.mapping:
            frame.spots[len(frame.items)] = spot
            frame.items.append(value)
            return
        assert frame.key is not None
        if frame.merging:
            self.merge(frame, value, spot)
        else:
            frame.pairs[frame.key] = value
            frame.spots[frame.key] = spot
        frame.key = None

    def merge(self, frame: _Frame, value: Value, spot: Spot) -> None:
        """`<<: *defaults`, the YAML merge key: pairs that the mapping does not have itself."""
        if isinstance(value, dict):
            frame.merged.append((value, spot))
            return
        children = spot.children or {}
        if not isinstance(value, tuple) or not all(isinstance(item, dict) for item in value):
            raise _Refused((spot.line, spot.column), "<< merges a mapping or a list of mappings", given=quote(value))
        frame.merged.extend((item, children[place]) for place, item in enumerate(value) if isinstance(item, dict))
