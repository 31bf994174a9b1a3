"""Writing files that belong together: each is whole or not there, all change at once, keys are born private."""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


@dataclass(frozen=True, slots=True)
class NewFile:
    """One file to write, by its name in the folder."""

    name: str
    content: bytes = field(repr=False)
    mode: int = PUBLIC


def write_files(folder: Path, *files: NewFile, overwrite: bool) -> None:
    """Write all of them, in that order; raises FileExistsError before any is changed if one is there already.

    Every file is written under another name and flushed first, and only then takes its place: a reader, or a crash,
    finds old or new content, and finds files of two generations side by side only for the moment between two renames.
    """
    if not overwrite:
        for file in files:
            if os.path.lexists(folder / file.name):
                raise FileExistsError(f"{folder / file.name} exists already")
    drafts: list[tuple[Path, Path]] = []
    try:
        for file in files:
            draft = folder / f".{file.name}.{secrets.token_hex(6)}"
            drafts.append((draft, folder / file.name))
            _write_draft(draft, file)
        for draft, final in drafts:
            if overwrite:
                os.replace(draft, final)
            else:
                os.link(draft, final)  # unlike a rename, this fails if somebody was faster
    finally:
        for draft, _final in drafts:
            draft.unlink(missing_ok=True)
    _flush_folder(folder)


def _write_draft(path: Path, file: NewFile) -> None:
    """O_EXCL with the mode from the start: nobody else can ever have had the file open."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, file.mode)
    with os.fdopen(fd, "wb") as stream:
        stream.write(file.content)
        stream.flush()
        os.fsync(fd)


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
