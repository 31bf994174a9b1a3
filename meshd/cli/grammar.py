"""Every command with its options, read off the parsers: what completions and the manual page are made of.

argparse has no public way to ask a parser what it takes; only this file looks inside one.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from meshd.cli.failure import Parser
from meshd.cli.main import COMMANDS, add_command

FILES: Final = ("FILE", "PATH", "FOLDER")


@dataclass(frozen=True, slots=True)
class Option:
    """A flag, or a positional argument when it has no names."""

    names: tuple[str, ...]
    value: str  # what stands for its value in help; empty for a flag that has none
    told: str
    choices: tuple[str, ...] = ()
    is_path: bool = False
    is_repeated: bool = False

    @property
    def is_positional(self) -> bool:
        """Whether it is told by its place."""
        return not self.names


@dataclass(frozen=True, slots=True)
class Command:
    """A command, with the commands below it."""

    words: tuple[str, ...]  # as typed after `meshd`
    told: str
    description: str
    options: tuple[Option, ...]
    below: tuple["Command", ...] = ()

    def walk(self) -> Iterator["Command"]:
        """It, and every command below it."""
        yield self
        for each in self.below:
            yield from each.walk()


def all_commands() -> tuple[Command, ...]:
    """Every command that there is, in the order of the table."""
    found = []
    for name, told in COMMANDS.items():
        parser = Parser(prog="meshd")
        subparsers: argparse._SubParsersAction[argparse.ArgumentParser] = parser.add_subparsers()  # type: ignore[assignment]  # of the class of Parser
        add_command(name, subparsers)
        found.append(_command((name,), told, subparsers.choices[name]))
    return tuple(found)


def _command(words: tuple[str, ...], told: str, parser: argparse.ArgumentParser) -> Command:
    options: list[Option] = []
    below: list[Command] = []
    for action in parser._actions:  # noqa: SLF001  # there is no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001
            below += [_command((*words, name), helps.get(name, ""), each) for name, each in action.choices.items()]
        else:
            options.append(_option(action))
    return Command(words, told, parser.description or told, tuple(options), tuple(below))


def _option(action: argparse.Action) -> Option:
    takes_value = action.nargs != 0
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    path = getattr(action.type, "__name__", "") == "Path"
    told = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return Option(
        names=tuple(action.option_strings),
        value=metavar if takes_value else "",
        told=told,
        choices=tuple(map(str, action.choices or ())),
        is_path=path or metavar in FILES,
        is_repeated=action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction),  # noqa: SLF001
    )


def by_words(commands: tuple[Command, ...]) -> Mapping[str, Command]:
    """Commands by what is typed, such as `ca issue`."""
    return {" ".join(each.words): each for command in commands for each in command.walk()}
