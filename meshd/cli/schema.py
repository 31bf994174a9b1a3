"""`meshd schema`: the JSON Schema of a kind of document, for editors; without a kind, the kinds there are."""

import argparse
import json

from meshd.cli.exit_codes import OK
from meshd.cli.failure import fail
from meshd.config.schema import READ, json_schema


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "print the JSON Schema of a kind of document, or list the kinds"
    parser = subparsers.add_parser("schema", help=told, description=told)
    parser.add_argument("kind", nargs="?", help="such as HTTPRoute")
    parser.add_argument("--json", action="store_true", help="also list the kinds as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print; the exit code."""
    kind: str | None = args.kind
    if kind is None and args.json:
        print(json.dumps({name: list(versions) for name, versions in READ.items()}, indent=2))
        return OK
    if kind is None:
        width = max(map(len, READ))
        for name, versions in READ.items():
            print(f"{name:<{width}}  {', '.join(versions)}")
        return OK
    try:
        print(json.dumps(json_schema(kind), indent=2, ensure_ascii=False))
    except LookupError as error:
        return fail(args, str(error.args[0]))
    return OK
