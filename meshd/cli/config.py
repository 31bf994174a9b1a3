"""`meshd config effective`: each value of a bootstrap and where it came from: a line of the file, the environment, a
flag, or the default.

Exit code 0: shown; 1: the document is not usable; 2: the command line makes no sense.
"""

import argparse
import json
import os
import re
from collections.abc import Iterator
from typing import Final

from meshd.cli.exit_codes import NO, OK
from meshd.cli.failure import fail, say_problems
from meshd.cli.proxy_file import NO_FILE, add_file, file_of
from meshd.cli.terminal import DIM, Terminal, table
from meshd.config.bootstrap import LoadedProxy, load_proxy
from meshd.config.errors import ConfigError
from meshd.process.source import OWN_VARIABLES
from meshd.telemetry.describe import Json

_STEP: Final = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")
# What a cluster writes into metadata; of no effect here.
_NOISE: Final = re.compile(r"metadata\.(?!name$|namespace$|labels$|annotations$)")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "show each value of a bootstrap and where it came from"
    parser = subparsers.add_parser("config", help=told, description=told)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    effective = actions.add_parser("effective", help=told, description=told)
    add_file(effective)
    effective.add_argument("--set", metavar="FIELD=VALUE", action="append", default=[], help="override any field")
    effective.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    effective.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show; the exit code."""
    settings: list[str] = args.set
    malformed = [each for each in settings if "=" not in each]
    if malformed:
        return fail(args, f"--set: got {malformed[0]!r}, expected FIELD=VALUE")
    file = file_of(args)
    if file is None:
        return fail(args, NO_FILE)
    environ = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    try:
        loaded = load_proxy(file, dict(each.split("=", 1) for each in settings), environ)
    except ConfigError as error:
        return fail(args, error, NO)
    say_problems(loaded.problems)
    if args.json:
        told = {field: {"value": value, "source": source} for field, value, source in effective_values(loaded)}
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return OK
    terminal = Terminal.of()
    rows = [
        [field, json.dumps(value, ensure_ascii=False), terminal.paint(source, DIM) if source == "default" else source]
        for field, value, source in effective_values(loaded)
    ]
    print("\n".join(table(rows, indent="")))
    return OK


def effective_values(loaded: LoadedProxy) -> Iterator[tuple[str, Json, str]]:
    """Field, value and source, in the order of the model."""
    data: Json = loaded.proxy.model_dump(mode="json", by_alias=True)
    for field, source in loaded.sources.items():
        if _NOISE.match(field):
            continue
        value = _at(data, field)
        if field == "spec.identity.serviceAccount" and value is None:
            yield field, loaded.proxy.service_account, "default: metadata.name"
        else:
            yield field, value, source


def _at(data: Json, field: str) -> Json:
    for word, place in _STEP.findall(field):
        if word and isinstance(data, dict):
            data = data[word]
        elif place and isinstance(data, list):
            data = data[int(place)]
    return data
