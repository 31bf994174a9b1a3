"""`meshd version`: the version, and what it runs on."""

import argparse
import json
import platform

from meshd import __version__
from meshd.cli.exit_codes import OK


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "print the version"
    parser = subparsers.add_parser("version", help=told, description=told)
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the interpreter's version")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print; the exit code."""
    if args.json:
        print(json.dumps({"version": __version__, "python": platform.python_version()}))
    else:
        print(f"meshd {__version__}")
    return OK
