"""The Proxy document that a command is about: named with -f, or the one in the working folder."""

import argparse
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path("proxy.yaml")
NO_FILE: Final = f"name the Proxy document with -f: there is no {DOCUMENT} here"


def add_file(parser: argparse.ArgumentParser, told: str = "the Proxy document") -> None:
    """The option that names it."""
    parser.add_argument("-f", "--file", type=Path, help=f"{told} (default: ./{DOCUMENT}, if it is there)")


def file_of(args: argparse.Namespace) -> Path | None:
    """The one that was named, or the one in the working folder; None when there is neither."""
    file: Path | None = args.file
    return DOCUMENT if file is None and DOCUMENT.is_file() else file
