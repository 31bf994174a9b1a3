"""The manual page: complete, and without a fault that a formatter finds."""

import os
import subprocess

from support.processes import program

from meshd.cli.exit_codes import EXIT_CODES
from meshd.cli.grammar import all_commands, by_words
from meshd.cli.man import page, plain


def test_it_has_every_command_option_and_exit_code():
    commands = all_commands()
    text = "\n".join(page(commands))
    for typed, command in by_words(commands).items():
        assert f".SS {plain(f'meshd {typed}')}" in text
        assert all(plain(name) in text for option in command.options for name in option.names)
    assert all(plain(meaning) in text for meaning in EXIT_CODES.values())


def test_text_cannot_give_orders():
    assert plain(".so /etc/passwd") == r"\&.so /etc/passwd"
    assert plain("a\n.br \\fB-x") == r"a .br \efB\-x"


def test_a_formatter_finds_nothing_wrong(tmp_path):
    file = tmp_path / "meshd.1"
    file.write_text("\n".join(page(all_commands())) + "\n")
    argv = [program("man"), "--warnings", "-l", str(file)]
    environ = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANPAGER": "cat"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert "EXIT STATUS" in done.stdout
    assert "meshd ca rotate-root" in done.stdout
