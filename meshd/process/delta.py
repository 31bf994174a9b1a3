"""What changed between two generations of documents, as it travels from the controller to everybody else.

Theory of operation: a delta holds whole documents, pickled one by one, so that it can be taken apart without being
understood: the supervisor only lays one over the other and hands the result to processes that start later, and a worker
unpickles a document at a time, between requests. It says since which generation it is complete; whoever has that one
or any later can take it, and taking it twice does no harm. Since 0 it is a whole set, whatever was there before. What
is long travels in several messages, each short enough to be received between two requests. A message may be lost: then
the delta is, and the controller tells it again.
"""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, TypeVar

from meshd.config.documents import PLACES, Document, Documents, in_order
from meshd.config.model import Resource
from meshd.core.steps import TOGETHER, Steps
from meshd.process.channel import Message

PART: Final = 128 * 1024  # bytes of documents in one message
GONE: Final = b""
WHOLE: Final = 0  # the generation before the first
HEAD: Final = ("digest", "files", "empty_lists")  # what a head holds

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True)
class Delta:
    """Documents by title, `GONE` for one that is no more. `head` is the rest of `Documents`; empty when they are the
    same as before. `reread`: there are new certificates."""

    generation: int
    since: int
    documents: Mapping[str, bytes]
    head: bytes
    reread: bool

    def messages(self) -> Iterator[Message]:
        """Parts, then the word that it is whole."""
        part: list[tuple[str, bytes]] = []
        size = parts = 0
        for title, body in self.documents.items():
            part.append((title, body))
            size += len(title) + len(body)
            if size > PART:
                yield ("part", self.generation, self.since, parts, part)
                part, size, parts = [], 0, parts + 1
        yield ("set", self.generation, self.since, parts, part, self.head, self.reread)

    def over(self, before: "Delta | None") -> "Delta":
        """Both as one; the earlier one must reach to where this one begins."""
        assert before is None or self.since <= before.generation
        if before is None or self.since == WHOLE:
            return self if before is None else replace(self, reread=self.reread or before.reread)
        documents = {**before.documents, **self.documents}
        since = min(before.since, self.since)
        return Delta(self.generation, since, documents, self.head or before.head, reread=self.reread or before.reread)


class Gathering:
    """The messages of one sender, put together again."""

    __slots__ = ("_documents", "_key", "_parts")

    def __init__(self) -> None:
        self._key = (0, 0)
        self._parts = 0
        self._documents: dict[str, bytes] = {}

    def take(self, message: Message) -> Delta | None:
        """One more message; the delta when it is the last of a whole one."""
        kind, generation, since, place, part, *rest = message
        assert isinstance(generation, int)
        assert isinstance(since, int)
        assert isinstance(part, list)
        if place == 0 or self._key != (generation, since):
            self._key, self._parts, self._documents = (generation, since), 0, {}
        if place != self._parts:
            return None  # some were lost
        self._documents.update(part)
        self._parts += 1
        if kind == "part":
            return None
        head, reread = rest
        assert isinstance(head, bytes)
        documents, self._documents, self._key = self._documents, {}, (0, 0)
        return Delta(generation, since, documents, head, reread=bool(reread))


def packed(document: Document[R]) -> bytes:
    """A document for another process; where it stands in its file stays here."""
    return pickle.dumps(Document(document.model, document.file, b""), pickle.HIGHEST_PROTOCOL)


def head_of(documents: Documents) -> bytes:
    """Everything of a set but its documents and warnings."""
    head = Documents(digest=documents.digest, files=documents.files, empty_lists=documents.empty_lists)
    return pickle.dumps(head, pickle.HIGHEST_PROTOCOL)


def applying(documents: Documents, delta: Delta) -> Steps[Documents]:
    """The set after a delta, a document a step. What it does not name stays the same object."""
    if not delta.head:
        return documents
    head: object = pickle.loads(delta.head)  # noqa: S301  # from our own controller
    assert isinstance(head, Documents)
    changed: dict[str, dict[str, Document[Resource] | None]] = {}
    if delta.since == WHOLE:
        documents = Documents()
    for title, body in delta.documents.items():
        changed.setdefault(PLACES[title.partition(" ")[0]], {})[title] = _unpacked(body) if body else None
        yield
    places: dict[str, tuple[Document[Resource], ...]] = {}
    for place, news in changed.items():
        kept: dict[str, Document[Resource] | None] = {}
        held: tuple[Document[Resource], ...] = getattr(documents, place)
        for number, document in enumerate(held):
            kept[document.title] = document
            if number % TOGETHER == 0:
                yield
        kept |= news
        places[place] = in_order([document for document in kept.values() if document is not None])
        yield
    rest = {field.name: getattr(head, field.name) for field in fields(head) if field.name in HEAD}
    return replace(documents, **places, **rest, problems=())  # type: ignore[arg-type]  # names and types are those of Documents


def _unpacked(body: bytes) -> Document[Resource]:
    found: object = pickle.loads(body)  # noqa: S301  # from our own controller
    assert isinstance(found, Document)
    return found
