"""How commands speak to a person: colours only on a terminal that wants them, columns that line up, nothing that what
is shown could do to the terminal."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

RED, GREEN, YELLOW, BOLD, DIM, PLAIN = "\033[31m", "\033[32m", "\033[33m", "\033[1m", "\033[2m", "\033[0m"
_COLOUR = re.compile(r"\033\[[0-9]+m")


class Terminal:
    """One output. Without a terminal behind it, or with NO_COLOR set, colours are left out."""

    __slots__ = ("coloured",)

    def __init__(self, *, coloured: bool) -> None:
        self.coloured = coloured

    @staticmethod
    def of(stream: TextIO | None = None) -> "Terminal":
        """The terminal behind a stream, standard output when none is named."""
        return Terminal(coloured=(stream or sys.stdout).isatty() and not os.environ.get("NO_COLOR"))

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour."""
        return f"{colour}{text}{PLAIN}" if self.coloured else text

    def __repr__(self) -> str:
        return f"<Terminal {'coloured' if self.coloured else 'plain'}>"


def table(rows: Iterable[Sequence[str]], indent: str = "  ") -> list[str]:
    """Lines with their columns aligned; the last column is left ragged."""
    rows = [[printable(cell) for cell in row] for row in rows]
    columns = max((len(row) for row in rows), default=0)
    widths = [max((_width(row[place]) for row in rows if place < len(row) - 1), default=0) for place in range(columns)]
    lines = []
    for row in rows:
        cells = [cell + " " * (widths[place] - _width(cell)) for place, cell in enumerate(row[:-1])]
        lines.append((indent + "  ".join([*cells, *row[-1:]])).rstrip())
    return lines


def printable(text: str) -> str:
    """The text with what is not printable escaped, our own colours aside."""
    kept = _COLOUR.findall(text)
    plain = [_escaped(part) for part in _COLOUR.split(text)]
    return "".join(part + colour for part, colour in zip(plain, [*kept, ""], strict=True))


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _width(text: str) -> int:
    return len(_COLOUR.sub("", text))
