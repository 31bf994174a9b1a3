"""What parsers take, as plain data."""

from meshd.cli.grammar import all_commands, by_words
from meshd.cli.main import COMMANDS


def test_every_command_and_those_below():
    commands = all_commands()
    assert [each.words[0] for each in commands] == list(COMMANDS)
    typed = by_words(commands)
    assert {"ca issue", "config effective", "up"} <= set(typed)
    assert all(each.told and each.description for each in typed.values())


def test_options_say_what_they_take():
    run = {name: each for each in by_words(all_commands())["run"].options for name in each.names}
    assert run["-f"] is run["--file"]
    assert run["-f"].is_path
    assert run["--log-format"].choices == ("text", "json")
    assert not run["--help"].value
    [shell] = [each for each in by_words(all_commands())["completion"].options if each.is_positional]
    assert shell.choices == ("bash", "zsh", "fish")
