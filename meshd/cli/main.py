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
from difflib import get_close_matches
from typing import Final

from meshd import __version__

USAGE: Final = 2  # exit code of a command line that makes no sense
INTERRUPTED: Final = 130  # 128 and SIGINT, as a shell says it

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
}

Run = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name in COMMANDS:
        return _run(name, arguments)
    if name == "--version":
        print(f"meshd {__version__}")
        return 0
    if name in ("", "-h", "--help", "help"):
        print(_overview())
        return 0 if name else USAGE
    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    print(f"meshd: no command {name!r}{hint} (`meshd --help` lists them)", file=sys.stderr)
    return USAGE


def _run(name: str, arguments: list[str]) -> int:
    """Parse and run. What follows `--` belongs to no option: a command that takes it has a default for `rest`."""
    gc.disable()  # whatever is made while modules load is kept: looking for garbage among it is a tenth of the time
    module = importlib.import_module(f"meshd.cli.{name}")
    gc.enable()
    parser = argparse.ArgumentParser(prog="meshd")
    module.add_parser(parser.add_subparsers(metavar="COMMAND", required=True))
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parsed = parser.parse_args(arguments[:end])
    if arguments[end + 1 :]:
        if "rest" not in parsed:
            parser.error(f"{name} takes nothing after --")
        parsed.rest = tuple(arguments[end + 1 :])
    run: Run = parsed.run
    try:
        return run(parsed)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough: `meshd schema HTTPRoute | head`
        sys.stderr.close()
        return 0


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {told}" for name, told in COMMANDS.items()]
    return "\n".join(
        [
            f"meshd {__version__}: a sidecar service-mesh proxy",
            "",
            "usage: meshd COMMAND ...      (meshd COMMAND --help says more)",
            "",
            *lines,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
