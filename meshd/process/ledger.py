"""In which generation each document changed last: what the controller tells others from."""

from typing import Final

from meshd.config.documents import Document, Documents
from meshd.config.model import Resource
from meshd.process.delta import GONE, WHOLE, Delta, head_of, packed

MOST_GONE: Final = 10_000  # names of documents that are no more; who has missed older ones gets everything


class Ledger:
    """The documents of the newest generation, and the names of those that are gone. A document is the same as long as
    its model is the same object."""

    __slots__ = ("_changed", "_documents", "_gone", "_head", "_packed", "_since", "generation")

    def __init__(self, documents: Documents, generation: int) -> None:
        self.generation = generation  # in which a document changed last
        self._head = documents
        self._documents: dict[str, Document[Resource]] = {each.title: each for each in documents.each()}
        self._changed = dict.fromkeys(self._documents, generation)
        self._gone: dict[str, int] = {}
        self._since = generation  # what went by then is not known
        self._packed: dict[str, bytes] = {}  # those of the newest generation

    def record(self, documents: Documents, generation: int) -> None:
        """These are the documents now."""
        now: dict[str, Document[Resource]] = {each.title: each for each in documents.each()}
        for title, document in now.items():
            before = self._documents.get(title)
            if before is None or before.model is not document.model:
                self._changed[title] = generation
                self._gone.pop(title, None)
        for title in self._documents.keys() - now.keys():
            del self._changed[title]
            self._gone[title] = generation
        if len(self._gone) > MOST_GONE:
            self._since = generation
            self._gone.clear()
        self._documents, self._head, self._packed = now, documents, {}
        self.generation = generation

    def since(self, since: int, generation: int, *, reread: bool) -> Delta:
        """What has changed after a generation, as the delta that leads to `generation`."""
        if since >= self.generation:
            return Delta(generation, since, {}, b"", reread=reread)
        if since < self._since:
            since = WHOLE
        found = {title: self._pack(title) for title, changed in self._changed.items() if changed > since}
        found |= {title: GONE for title, gone in self._gone.items() if gone > since}
        return Delta(generation, since, found, head_of(self._head), reread=reread)

    def _pack(self, title: str) -> bytes:
        body = self._packed.get(title)
        if body is None:
            body = self._packed[title] = packed(self._documents[title])
        return body

    def __repr__(self) -> str:
        return f"<Ledger of {len(self._documents)} documents, generation {self.generation}>"
