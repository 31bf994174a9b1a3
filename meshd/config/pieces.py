"""Files in pieces, so that of a large one only what changed is read again.

Theory of operation: a line that begins with `---` ends a document of YAML whatever it stands in (YAML 1.2.2, section
9.1.2), so a file may be cut there and read piece by piece. What a piece says is remembered by its bytes, with lines
counted from its own beginning; where the piece stands now is added to that. Documents that say the same are the same
model from one load to the next, wherever they stand: whoever comes after tells by that what changed.

Rule 1: whatever is not plainly a row of documents without a mistake is read as one piece: directives, document ends,
unusual line breaks, and every file in which anything is wrong. So what is told of mistakes does not depend on pieces.
Rule 2: a file that is but the beginning of what it was, and ends within a line, was cut off (a full disk, a copy that
failed), and what is left of a policy may say the contrary of it.
"""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from meshd.config.documents import Document
from meshd.config.errors import Problem
from meshd.config.model import Resource
from meshd.config.reader import count_errors, empty_list, read_content, read_document
from meshd.config.yaml_file import MAX_BYTES, MAX_NODES, MAX_PROBLEMS, Value, parse

_CUT: Final = re.compile(rb"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
# Line breaks that `\n` does not count, and a byte order mark.
_UNUSUAL: Final = (b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xef\xbb\xbf")
_AT_LINE_START: Final = (b"%", b"...")  # a directive, a document's end

# What a cluster writes into metadata without changing what the document says.
_NOISE: Final = frozenset(("resourceVersion", "managedFields", "uid", "generation", "selfLink"))

Entry: TypeAlias = tuple[Document[Resource], bytes]  # with the digest of what it says


@dataclass(frozen=True, slots=True)
class Piece:
    """What a file, or a part of one, says."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()
    empty_lists: frozenset[str] = frozenset()  # kinds of Lists without items
    is_empty: bool = True  # nothing but comments
    nodes: int = 0  # values, of which a file has a bounded number

    @property
    def has_errors(self) -> bool:
        """Whether anything is wrong, and not just odd."""
        return bool(self.problems) and count_errors(self.problems) > 0

    def below(self, lines: int) -> "Piece":
        """The same, that many lines further down."""
        if not lines:
            return self
        entries = tuple((document.below(lines), digest) for document, digest in self.entries)
        problems = tuple(replace(each, line=each.line + lines) if each.line else each for each in self.problems)
        return replace(self, entries=entries, problems=problems)


Placed: TypeAlias = tuple[Piece, int, Piece]  # a piece, and the same so many lines further down


class Pieces:
    """What was read before. One that is forgotten costs time, and nothing else."""

    __slots__ = (
        "_cuts",
        "_good",
        "_known",
        "_models",
        "_next_known",
        "_next_models",
        "_next_placed",
        "_next_whole",
        "_placed",
        "_whole",
        "read",
    )

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], Piece] = {}
        self._models: dict[bytes, Resource] = {}
        self._cuts: dict[str, tuple[bytes, list[bytes]]] = {}  # files as they were, and their pieces
        self._next_known: dict[tuple[str, bytes], Piece] = {}
        self._next_models: dict[bytes, Resource] = {}
        self._placed: dict[tuple[str, bytes], Placed] = {}
        self._next_placed: dict[tuple[str, bytes], Placed] = {}
        self._good = self._known, self._models, self._placed  # of the last load that was whole
        self._whole: dict[str, bytes] = {}  # what files said then
        self._next_whole: dict[str, bytes] = {}
        self.read = 0  # pieces that had to be read, for those who count work

    def begin(self) -> None:
        """A load begins."""
        self._next_known, self._next_models, self._next_placed, self._next_whole = {}, {}, {}, {}

    def end(self, *, whole: bool) -> None:
        """It ended; what neither it nor the last `whole` one came upon is forgotten."""
        if whole:
            self._good = self._next_known, self._next_models, self._next_placed
            self._whole = self._next_whole
        known, models, placed = self._good  # mistakes are many, and one after the other would be kept for ever
        self._known = known | self._next_known
        self._models = models | self._next_models
        self._placed = placed | self._next_placed
        files = {file for file, _ in self._known}
        for file in self._cuts.keys() - files:
            del self._cuts[file]

    def of(self, file: Path) -> Piece:
        """What a file says, or what is wrong with it."""
        content = read_content(file)
        if isinstance(content, Problem):
            return Piece(problems=(content,))
        self._next_whole[str(file)] = content
        if _is_cut_off(content, self._whole.get(str(file), b"")):
            line = content.count(b"\n") + 1
            expected = "the file is the beginning of what it was, and ends within a line: it was cut off"
            remedy = "write it again, with a line break at its end"
            return Piece(problems=(Problem("error", "file", str(file), line, expected=expected, suggestion=remedy),))
        whole = self._known.get((str(file), content))
        cut = self._cuts.get(str(file))
        parts = cut[1] if cut is not None and cut[0] == content else _cut(content)
        self._cuts[str(file)] = content, parts
        if whole is not None:
            self._keep_parts(str(file), parts)
            return self._keep(str(file), content, whole)
        if len(parts) > 1:
            pieces = [self._piece(str(file), part) for part in parts]
            if not any(piece.has_errors for piece in pieces) and _fits(pieces):
                return self._keep(str(file), content, self._joined(str(file), parts, pieces))
        return self._piece(str(file), content)

    def _joined(self, file: str, parts: list[bytes], pieces: list[Piece]) -> Piece:
        entries: list[Entry] = []
        problems: list[Problem] = []
        line = 0
        for part, piece in zip(parts, pieces, strict=True):
            placed = self._placed.get((file, part))
            if placed is None or placed[0] is not piece or placed[1] != line:
                placed = (piece, line, piece.below(line))
            self._next_placed[file, part] = placed
            entries += placed[2].entries
            problems += placed[2].problems
            line += part.count(b"\n")
        empty_lists = frozenset(kind for piece in pieces for kind in piece.empty_lists)
        return Piece(tuple(entries), tuple(problems), empty_lists, all(piece.is_empty for piece in pieces))

    def _piece(self, file: str, content: bytes) -> Piece:
        known = self._known.get((file, content))
        if known is None:
            self.read += 1
            known = self._same_models(_read(file, content))
        return self._keep(file, content, known)

    def _keep_parts(self, file: str, parts: list[bytes]) -> None:
        """Of a file that did not change: its pieces may be asked for when it does."""
        for part in parts:
            known, placed = self._known.get((file, part)), self._placed.get((file, part))
            if known is not None:
                self._next_known[file, part] = known
            if placed is not None:
                self._next_placed[file, part] = placed

    def _keep(self, file: str, content: bytes, piece: Piece) -> Piece:
        self._next_known[file, content] = piece
        for document, digest in piece.entries:
            self._next_models[digest] = document.model
        return piece

    def _same_models(self, piece: Piece) -> Piece:
        """Documents that say what others said before are those."""
        entries = []
        for document, digest in piece.entries:
            model = self._models.get(digest)
            entries.append((document if model is None else replace(document, model=model), digest))
        return replace(piece, entries=tuple(entries))

    def __repr__(self) -> str:
        return f"<Pieces {len(self._known)} known, {self.read} read>"


def _is_cut_off(content: bytes, before: bytes) -> bool:
    """Whether more than line breaks at the end is missing, and the end is none."""
    if not content or not before.endswith(b"\n") or content.endswith((b"\n", b"\r")):
        return False
    return len(content) < len(before.rstrip()) and before.startswith(content)


def _cut(content: bytes) -> list[bytes]:
    if len(content) > MAX_BYTES or _is_unusual(content):
        return [content]
    cuts = [found.start() for found in _CUT.finditer(content)]
    if not cuts or cuts[0] > 0:
        cuts.insert(0, 0)
    return [content[start:end] for start, end in zip(cuts, [*cuts[1:], len(content)], strict=True)]


def _is_unusual(content: bytes) -> bool:
    if content.startswith(_AT_LINE_START) or any(b"\n" + mark in content for mark in _AT_LINE_START):
        return True
    return content.count(b"\r") != content.count(b"\r\n") or any(mark in content for mark in _UNUSUAL)


def _fits(pieces: list[Piece]) -> bool:
    return sum(piece.nodes for piece in pieces) <= MAX_NODES


def _read(file: str, content: bytes) -> Piece:
    texts, trouble = parse(content, file)
    problems = list(trouble)
    errors = len(problems)
    entries: list[Entry] = []
    for text in texts:
        if errors >= MAX_PROBLEMS:
            break
        found, trouble = read_document(text, file)
        entries += ((document, digest_of(data)) for document, data in found)
        problems += trouble
        errors += count_errors(trouble)
    return Piece(
        tuple(entries),
        tuple(problems),
        frozenset(empty_list(text.data) for text in texts) - {""},
        all(text.data is None for text in texts),
        sum(text.nodes for text in texts),
    )


def digest_of(data: Value) -> bytes:
    """One value for what a document says."""
    assert isinstance(data, dict)
    kept = {key: value for key, value in data.items() if key != "status"}
    metadata = kept.get("metadata")
    if isinstance(metadata, dict):
        kept["metadata"] = {key: value for key, value in metadata.items() if key not in _NOISE}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).digest()
