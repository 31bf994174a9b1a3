"""Colours where they are wanted, columns that line up, and nothing that steers the terminal."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.cli.terminal import RED, Terminal, printable, table


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Terminal.of(Screen()).coloured
    assert not Terminal.of(io.StringIO()).coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Terminal.of(Screen()).coloured


@pytest.mark.parametrize(("coloured", "text", "name"), [(True, "\033[31mx\033[0m", "coloured"), (False, "x", "plain")])
def test_paint(coloured, text, name):
    terminal = Terminal(coloured=coloured)
    assert terminal.paint("x", RED) == text
    assert repr(terminal) == f"<Terminal {name}>"


def test_columns_line_up_whatever_their_colour():
    red = Terminal(coloured=True).paint("a", RED)
    assert table([[red, "b", "c"], ["aa", "", "dddd"], ["x"]], indent=" ") == [f" {red}   b  c", " aa     dddd", " x"]
    assert table([]) == []


@given(st.text())
def test_what_is_shown_does_not_steer_the_terminal(text):
    shown = printable("\033[31m" + text + "\033[0m")
    assert re.sub(r"\033\[[0-9]+m", "", shown).isprintable()
    if text.isprintable():
        assert shown == "\033[31m" + text + "\033[0m"
