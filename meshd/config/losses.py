"""What a new set of documents has lost against the one that is served, and what is no plain deletion among it.

A file that goes is a deletion; but a failed copy, a full disk, a mount that went away look like many of them. So a set
is refused, and the last good one goes on, when

Rule 1: a folder that held documents holds none, and what it held stands nowhere else;
Rule 2: of a kind that restricts there was a document, and there is none.

Rule 3: whoever means it writes so: `{apiVersion: v1, kind: List, items: []}` says that there is none of any kind, a
typed one (AuthorizationPolicyList) none of its kind. One that stood beside such documents while they were served (it
keeps an empty folder, say) never spoke of them, and says nothing about their loss.
Rule 4: what the bootstrap no longer names is gone on purpose as well, unless nothing at all is found where it points.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from meshd.config.documents import Document, Documents
from meshd.config.errors import Problem
from meshd.config.model import Resource
from meshd.config.reader import LIST

RESTRICTING: Final = (
    "AuthorizationPolicy",
    "PeerAuthentication",
    "RequestAuthentication",
    "RateLimitPolicy",
    "RequestPolicy",
)
REMEDY: Final = (
    "bring it back, or write {{apiVersion: v1, kind: {kind}List, items: []}}{where} to say that none is meant"
)


def find_losses(
    before: Documents, after: Documents, named: Sequence[Path], is_folder: Callable[[str], bool] = os.path.isdir
) -> list[Problem]:
    """Every such loss, as errors. `named` are the files and folders that the bootstrap names now."""
    said = after.empty_lists - _contradicted(before)
    if LIST in said:
        return []
    left = {each.title for each in after.each()}
    strays = bool(named) and not left
    lost = [
        each
        for each in before.each()
        if each.title not in left and each.model.kind not in said and (strays or _is_below(each.file, named))
    ]
    if not lost:
        return []
    return [*_emptied(lost, after, named, is_folder), *_last_of_kind(lost, after)]


def _contradicted(before: Documents) -> set[str]:
    """Kinds of Lists that said there is none while there was."""
    if not before.empty_lists:
        return set()
    kinds = {each.model.kind for each in before.each()}
    if kinds.intersection(RESTRICTING):
        kinds.add(LIST)
    return kinds & before.empty_lists


def _emptied(
    lost: Sequence[Document[Resource]], after: Documents, named: Sequence[Path], is_folder: Callable[[str], bool]
) -> Iterator[Problem]:
    """Rule 1. A folder below a named one that was itself removed, and not emptied, is a deletion."""
    deepest = {os.path.dirname(file) for file in after.files}
    held = deepest | {str(folder) for each in deepest for folder in Path(each).parents}
    by_folder: dict[str, list[str]] = {}
    for each in lost:
        for folder in map(str, (Path(each.file), *Path(each.file).parents)):  # a mount may make a folder of a file
            if folder not in held and _is_below(folder, named):
                by_folder.setdefault(folder, []).append(each.title)
    for folder, titles in sorted(by_folder.items()):
        if is_folder(folder) or Path(folder) in named:
            missing = f"{titles[0]} and {len(titles) - 1} more" if len(titles) > 1 else titles[0]
            expected = f"the folder holds no document any more; {missing} would be lost"
            yield Problem("error", "file", folder, expected=expected, suggestion=REMEDY.format(kind="", where=" in it"))
            return  # one is enough to refuse it, and those below say the same


def _last_of_kind(lost: Sequence[Document[Resource]], after: Documents) -> Iterator[Problem]:
    """Rule 2."""
    left = {each.model.kind for each in after.each()}
    for kind in RESTRICTING:
        gone = [each for each in lost if each.model.kind == kind]
        if gone and kind not in left:
            expected = f"the last {kind} is gone, and what it restricts would be open"
            remedy = REMEDY.format(kind=kind, where="")
            yield Problem("error", "file", gone[-1].file, 0, 0, gone[-1].title, "", "", expected, remedy)


def _is_below(file: str, named: Sequence[Path]) -> bool:
    return any(file == str(each) or file.startswith(f"{each}{os.sep}") for each in named)
