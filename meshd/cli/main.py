"""`meshd`: finds the command and runs it.

A command is one line of COMMANDS and one module of this package with `add_parser(subparsers)`, which sets `run=` to a
function from the parsed arguments to the exit code. Only the module of the command that was asked for is imported, so
`meshd run` starts at once whatever the others need. For `meshd --help` the line in the table is enough.
"""

import argparse
import gc
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from meshd import __version__
from meshd.cli.exit_codes import EXIT_CODES, INTERRUPTED, OK, UNUSABLE
from meshd.cli.failure import Parser, say
from meshd.config.errors import did_you_mean

COMMANDS: Final[Mapping[str, str]] = {
    "up": "run a whole mesh on loopback and show what happens to its traffic",
    "run": "run a sidecar, alone or around an app",
    "check": "validate a bootstrap, its policies and certificates, or policies alone",
    "explain": "say why a request is let through, refused or routed as it is",
    "test": "test policies against cases, without a network",
    "simulate": "replay recorded decisions against other policies",
    "config": "show each value of a bootstrap and where it came from",
    "schema": "print the JSON Schema of a kind of document, or list the kinds",
    "ca": "issue, renew, revoke and check certificates",
    "completion": "print the completions for a shell",
    "man": "print the manual page",
    "version": "print the version",
}
VERSION: Final = ("--version", "-V")
HELP: Final = ("", "-h", "--help", "help")

Run = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    Parser.as_json = "--json" in arguments
    if name in VERSION:
        name, arguments = "version", ["version", *arguments[1:]]
    if name in COMMANDS:
        return _run(name, arguments)
    if name in HELP:
        if len(arguments) > 1 and arguments[1] in COMMANDS:
            return _run(arguments[1], [arguments[1], "--help"])
        print(overview())
        return OK if name else UNUSABLE
    hint = did_you_mean(name, COMMANDS)
    text = f"no command {name!r}{f'; {hint}' if hint else ''} (`meshd --help` lists them)"
    return say(text, UNUSABLE, as_json=Parser.as_json)


def add_command(name: str, subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Import the module of a command and have it declare itself."""
    gc.disable()  # whatever is made while modules load is kept: looking for garbage among it is a tenth of the time
    module = importlib.import_module(f"meshd.cli.{name}")
    gc.enable()
    module.add_parser(subparsers)


def _run(name: str, arguments: list[str]) -> int:
    """Parse and run. What follows `--` belongs to no option: a command that takes it has a default for `rest`."""
    parser: argparse.ArgumentParser = Parser(prog="meshd")
    add_command(name, parser.add_subparsers(metavar="COMMAND", required=True))
    end = arguments.index("--") if "--" in arguments else len(arguments)
    Parser.as_json = "--json" in arguments[:end]
    parsed = parser.parse_args(arguments[:end])
    if arguments[end + 1 :]:
        if "rest" not in parsed:
            parser.error(f"{name} takes nothing after --")
        parsed.rest = tuple(arguments[end + 1 :])
    run: Run = parsed.run
    try:
        return run(parsed)
    except KeyboardInterrupt:
        return say("interrupted", INTERRUPTED, as_json=True) if Parser.as_json else INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough: `meshd schema HTTPRoute | head`
        sys.stderr.close()
        return OK
    except OSError as error:
        if name == "run":  # it translates what the system refuses where that is known; anything else is a bug of ours
            raise
        where = f"{error.filename}: " if error.filename else ""
        return say(f"{where}{error.strerror or error}", UNUSABLE, as_json=Parser.as_json)


def overview() -> str:
    """What `meshd --help` says."""
    width = max(map(len, COMMANDS))
    codes = max(map(len, EXIT_CODES))
    return "\n".join(
        [
            f"meshd {__version__}: a sidecar service-mesh proxy",
            "",
            "usage: meshd COMMAND ...      (meshd COMMAND --help says more)",
            "",
            *(f"  {name:<{width}}  {told}" for name, told in COMMANDS.items()),
            "",
            "exit codes",
            *(f"  {code:<{codes}}  {meaning}" for code, meaning in EXIT_CODES.items()),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
