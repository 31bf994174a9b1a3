"""Which files hold documents, and whether they changed. Reads names and stats; opens nothing.

Rule 1: what is in a folder under the name of a document and cannot be a document (a link that leads nowhere, a pipe) is
an error. Passing it over would take a policy away without a word.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from meshd.config.errors import Problem

SUFFIXES: Final = (".yaml", ".yml", ".json")
TESTS: Final = tuple(f"_test{suffix}" for suffix in SUFFIXES)  # documents of `meshd test`, not policies
MAX_FILES: Final = 10_000


def find_files(paths: Sequence[Path], entered: set[str] | None = None) -> tuple[list[Path], list[Problem]]:
    """Every document file of these files and folders, each once, in order of name. A file that is named outright counts
    whatever its name is. `entered` takes the folders, those without a file among them."""
    found: dict[str, Path] = {}
    folders: dict[str, str] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            mode = path.stat().st_mode
            files = list(_walk(path, problems, entered)) if stat.S_ISDIR(mode) else [path]
        except OSError as error:
            expected = f"cannot be read: {error.strerror or error}"
            problems.append(Problem("error", "file", str(path), expected=expected))
            continue
        for file in files:
            found.setdefault(_real(file, folders), file)
    if len(found) > MAX_FILES:
        given = f"{len(found)} files"
        problems.append(Problem("error", "file", str(paths[0]), given=given, expected=f"at most {MAX_FILES} are read"))
        return [], problems
    return list(found.values()), problems


def watch_stamp(paths: Sequence[Path]) -> tuple[tuple[str | int, ...], ...]:
    """A value that changes when a file or folder comes or goes, and when a file is written anew or may no longer be
    read. Cheap: names and stats only.

    Stats follow links, so that the swap of a link (as Kubernetes swaps a mounted ConfigMap) shows as a new inode.
    """
    folders: set[str] = set()
    files, problems = find_files(paths, folders)
    stamp: list[tuple[str | int, ...]] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamp.append((str(file), -1, -1, -1))
        else:
            # The change time of the inode tells of permissions too, and of a copy that keeps the file's own time.
            stamp.append((str(file), status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))
    return (*stamp, *((problem.file, -1, -1, -1) for problem in problems), *((folder,) for folder in sorted(folders)))


def _real(file: Path, folders: dict[str, str]) -> str:
    """As `realpath`, which looks at every folder above again for every file."""
    if os.path.islink(file):
        return os.path.realpath(file)
    above, name = os.path.split(file)
    if above not in folders:
        folders[above] = os.path.realpath(above)
    return os.path.join(folders[above], name)


def _walk(folder: Path, problems: list[Problem], walked: set[str] | None) -> Iterator[Path]:
    """Document files below a folder. Names with a dot in front are hidden: among them `..data`, the folder that the
    links of a mounted ConfigMap lead into. Folders reached by a link are entered once."""
    entered: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(here)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        if walked is not None:
            walked.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or name.endswith(TESTS):
                continue
            file = Path(here, name)
            if not name.endswith(SUFFIXES) and (file.exists() or not file.is_symlink()):
                continue  # but a link that leads nowhere, whatever its name, may have led to a folder of documents
            why = _unusable(file)
            if why:
                problems.append(Problem("error", "file", str(file), expected=why))
            else:
                yield file


def _unusable(file: Path) -> str:
    """Why it cannot be a document; empty when it can."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if stat.S_ISREG(mode) else "expected a regular file; remove it, or hide it with a dot before its name"


def _raise(error: OSError) -> None:
    raise error
