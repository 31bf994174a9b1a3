"""`meshd simulate`: yesterday's decisions under other policies. Which would change, how many, and by which rule.

The record is meshd's JSON access log (`telemetry.accessLog.format: json`), one object a line. What it does not say may
leave a decision open: that is told apart, and is no change.

Exit code 0: nothing would change; 1: something would; 2: the command line, the documents or the log are not usable.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from meshd.cli.exit_codes import NO, OK
from meshd.cli.failure import fail
from meshd.cli.proxy_file import NO_FILE, add_file, file_of
from meshd.cli.sidecar import load_world
from meshd.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, Terminal, printable, table
from meshd.config.errors import ConfigError
from meshd.explain.logged import NEEDED
from meshd.explain.replay import Fate, Group, Replay, limits_of

MOST_OCTETS: Final = 1024 * 1024  # of one line
GROUPS_SHOWN: Final = 50
WORDS: Final[dict[Fate, str]] = {
    "same": "same",
    "cannot tell": "cannot be told",
    "skipped": "skipped",
    "unreadable": "unreadable",
}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "replay recorded decisions against other policies"
    needs = (
        f"A line of the log must have {', '.join(NEEDED)}; who called, when, by which listener and rule is read too. "
        "Rate limits are replayed as if the log were whole and one sidecar's, and the documents that the Proxy "
        "document names those it was written under. What the log does not say is never guessed: it is counted apart."
    )
    parser = subparsers.add_parser("simulate", help=told, description=f"{told}. {needs}")
    add_file(parser, "the Proxy document of the sidecar that logged")
    parser.add_argument("--log", required=True, metavar="FILE", help="its JSON access log, or - for standard input")
    parser.add_argument(
        "--policies",
        type=Path,
        action="append",
        metavar="PATH",
        help="the new documents, all of them: a file or folder, in the place of those that the Proxy document names",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay and tell; the exit code."""
    file = file_of(args)
    if file is None:
        return fail(args, NO_FILE)
    try:
        _, world = load_world(file, args.policies)
    except ConfigError as error:
        return fail(args, error)
    replay = Replay(world, _limits_before(file, args))
    log: str = args.log
    try:
        if log == "-":
            _replay(sys.stdin.buffer, replay)
        else:
            with open(log, "rb") as opened:
                _replay(opened, replay)
    except OSError as error:
        return fail(args, f"cannot read {log}: {error.strerror}")
    replay.finish()
    decided = replay.fates.total() - replay.fates["unreadable"]
    if not decided:
        why = f": {replay.first_unreadable}" if replay.first_unreadable else ""
        return fail(args, f"{log} holds no decision of a JSON access log{why}")
    if args.json:
        print(json.dumps(replay.as_json(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(replay, Terminal.of())))
    return NO if replay.changes else OK


def _limits_before(file: Path, args: argparse.Namespace) -> frozenset[str] | None:
    """The rate limits of the documents that the Proxy document names, which the log is taken to be written under; None
    where those are replayed, or cannot be read."""
    if args.policies is None:
        return None
    try:
        return limits_of(load_world(file, None)[1].snapshot.plans.values())
    except ConfigError:
        return None


def _replay(file: BinaryIO, replay: Replay) -> None:
    for line in _read(file):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        replay.add(found if isinstance(found, dict) else {})


def _read(file: BinaryIO) -> Iterator[bytes]:
    """The lines that are not blank; one that is too long comes in pieces, which are no JSON."""
    while line := file.readline(MOST_OCTETS):
        if not line.isspace():
            yield line


def _lines(replay: Replay, terminal: Terminal) -> Iterator[str]:
    fates, changes = replay.fates, replay.changes
    told = f"{fates['changed']} of {fates.total()} decisions would change"
    yield terminal.paint(told, f"{BOLD}{RED if changes else GREEN}")
    yield "  " + ", ".join(f"{fates[fate]} {word}" for fate, word in WORDS.items() if fates[fate])
    ordered = sorted(changes.items(), key=lambda item: -item[1].count)
    for (direction, before, after), group in ordered[:GROUPS_SHOWN]:
        yield ""
        yield f"{terminal.paint(str(group.count), BOLD)} {direction}: {printable(before)}"
        colour = RED if after.startswith(("denied", "refused", "no ")) else YELLOW
        yield f"  now {terminal.paint(printable(after), colour)}"
        yield from _examples(group, terminal)
    if len(ordered) > GROUPS_SHOWN:
        yield f"  and {len(ordered) - GROUPS_SHOWN} more kinds of change"
    for missing, count in sorted(replay.untold.items(), key=lambda item: -item[1])[:GROUPS_SHOWN]:
        yield ""
        yield printable(f"{count} cannot be told: it depends on what this log does not say ({missing})")


def _examples(group: Group, terminal: Terminal) -> list[str]:
    rows = [
        [
            str(each["start_time"] or ""),
            str(each["method"]),
            f"{each['authority']}{each['path']}",
            f"from {each['downstream_peer']}" if each["downstream_peer"] else "",
            str(each["request_id"] or ""),
        ]
        for each in group.examples
    ]
    return [terminal.paint(line, DIM) for line in table(rows, indent="    ")]
