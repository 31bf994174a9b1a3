"""`meshd schema`: the JSON Schema of a kind of document, for editors; without a kind, the kinds there are."""

import argparse
import json
import sys

from meshd.config.schema import READ, json_schema


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "print the JSON Schema of a kind of document, or list the kinds"
    parser = subparsers.add_parser("schema", help=told, description=told)
    parser.add_argument("kind", nargs="?", help="such as HTTPRoute")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print; the exit code."""
    kind: str | None = args.kind
    if kind is None:
        width = max(map(len, READ))
        for name, versions in READ.items():
            print(f"{name:<{width}}  {', '.join(versions)}")
        return 0
    try:
        print(json.dumps(json_schema(kind), indent=2, ensure_ascii=False))
    except LookupError as error:
        print(f"meshd schema: {error.args[0]}", file=sys.stderr)
        return 2
    return 0
