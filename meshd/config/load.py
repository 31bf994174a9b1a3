"""From files to documents: every file is read, every mistake of every file is reported together.

Rule 1: a file without a document is a mistake (as for kubectl), for it may be what a full disk left of a policy. Who
means "none" writes a List without items. A folder without a file is no mistake by itself; `losses.py` knows more.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from meshd.config.bootstrap import LoadedProxy, load_proxy
from meshd.config.documents import Document, Documents, collect
from meshd.config.errors import ConfigError, Problem
from meshd.config.folder import find_files, watch_stamp
from meshd.config.model import Resource
from meshd.config.pieces import Entry, Pieces
from meshd.config.reader import count_errors


def load_policies(paths: Sequence[Path], pieces: Pieces | None = None) -> Documents:
    """The documents of these files and folders. Raises ConfigError with every mistake of every file.

    With the `pieces` of the load before, only what changed is read, and what did not is the same model.
    """
    pieces = pieces if pieces is not None else Pieces()
    files, problems = find_files(paths)
    entries: list[Entry] = []
    empty_lists: dict[str, Path] = {}
    pieces.begin()
    for file in files:
        piece = pieces.of(file)
        if piece.is_empty and not piece.problems:
            problems.append(_empty(file))
        problems += piece.problems
        entries += piece.entries
        empty_lists |= dict.fromkeys(piece.empty_lists, file)
    problems += _duplicates(document for document, _ in entries)
    pieces.end(whole=not count_errors(problems))
    if count_errors(problems):
        raise ConfigError(problems)
    problems += _without_files(paths, files)
    problems += _contradicted(empty_lists, entries)
    read = _collect(entries, problems)
    return replace(read, files=tuple(map(str, files)), empty_lists=frozenset(empty_lists))


def _empty(file: Path) -> Problem:
    remedy = "remove it, or write {apiVersion: v1, kind: List, items: []} to say that there is none"
    expected = "expected a document, there is none"
    return Problem("error", "missing", str(file), 1, 1, expected=expected, suggestion=remedy)


def _without_files(paths: Sequence[Path], files: Sequence[Path]) -> Iterator[Problem]:
    held = {os.path.realpath(folder) for file in files for folder in file.parents}
    for path in paths:
        if path.is_dir() and os.path.realpath(path) not in held:
            yield Problem("warning", "file", str(path), expected="no document is in this folder")


def _contradicted(empty_lists: Mapping[str, Path], entries: Iterable[Entry]) -> Iterator[Problem]:
    """Lists that say there is none of a kind of which there is one."""
    kinds = {document.model.kind: document for document, _ in entries} if empty_lists else {}
    for kind, file in empty_lists.items():
        if kind in kinds:
            expected = f"an empty {kind}List says that there is none, and there is {kinds[kind].title}"
            remedy = f"remove it: it does not excuse the loss of the last {kind}"
            yield Problem("warning", "value", str(file), expected=expected, suggestion=remedy)


def _duplicates(documents: Iterable[Document[Resource]]) -> Iterator[Problem]:
    first: dict[str, Document[Resource]] = {}
    for document in documents:
        other = first.setdefault(document.title, document)
        if other is not document:
            file, line, _ = other.where()
            expected = f"expected each kind, namespace and name once; {file}:{line} has it already"
            place = document.where(("metadata", "name"))
            yield Problem("error", "duplicate", *place, document.title, "metadata.name", "", expected)


def _collect(entries: list[Entry], problems: list[Problem]) -> Documents:
    documents = [document for document, _ in entries if document.model.kind != "Proxy"]
    for document, _ in entries:
        if document.model.kind == "Proxy":
            expected = "a Proxy is a bootstrap and no policy; it is ignored here"
            problems.append(Problem("warning", "value", *document.where(), document.title, expected=expected))
    return collect(
        documents,
        problems=problems,
        digest=_digest(digest for document, digest in entries if document.model.kind != "Proxy"),
    )


def _digest(contents: Iterable[bytes]) -> str:
    """One value for what the documents say, whatever their order and files."""
    whole = hashlib.sha256()
    for each in sorted(contents):
        whole.update(each)
    return whole.hexdigest()


__all__ = ["LoadedProxy", "load_policies", "load_proxy", "watch_stamp"]
