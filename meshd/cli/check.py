"""`meshd check`: validate a bootstrap, its policies and its certificates, or policies alone. Nothing is started.

Exit code 0: usable, perhaps with warnings; 1: not usable, or with --strict not without warnings; 2: the command line
makes no sense.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from meshd.cli.exit_codes import NO, OK
from meshd.cli.failure import fail
from meshd.cli.proxy_file import add_file, file_of
from meshd.compile import compile_snapshot
from meshd.config.bootstrap import LoadedProxy, load_proxy
from meshd.config.cross_check import cross_check
from meshd.config.documents import Documents
from meshd.config.errors import ConfigError, Problem
from meshd.config.load import load_policies
from meshd.explain.chance import Drawn
from meshd.identity.credentials import CredentialError, load_credentials
from meshd.unserved import refuse_unserved

RED, YELLOW, GREEN, BOLD, PLAIN = "\033[31m", "\033[33m", "\033[32m", "\033[1m", "\033[0m"

LATE = 0.9  # of a certificate's life: by then whoever renews it should have


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "validate a bootstrap, its policies and certificates, or policies alone"
    parser = subparsers.add_parser("check", help=told, description=told)
    add_file(parser)
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders with policies, besides those it names")
    parser.add_argument("--strict", action="store_true", help="fail on warnings as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check and print; the exit code."""
    paths: list[Path] = args.paths
    file = args.file if paths else file_of(args)  # policies alone are not those of the sidecar that is here
    if file is None and not paths:
        return fail(args, "name a bootstrap with -f, or files or folders with policies; there is no proxy.yaml here")
    documents, problems = check(file, paths, time.time())
    errors = [problem for problem in problems if problem.severity == "error"]
    warnings = [problem for problem in problems if problem.severity == "warning"]
    failed = bool(errors or (warnings and args.strict))
    if args.json:
        told = {
            "ok": not failed,
            "documents": documents,
            "errors": [problem.as_json() for problem in errors],
            "warnings": [problem.as_json() for problem in warnings],
        }
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print("\n".join(report(documents, errors, warnings, coloured=coloured, strict=args.strict)))
    return NO if failed else OK


def check(file: Path | None, paths: Sequence[Path], now: float) -> tuple[int, list[Problem]]:
    """How many documents there are, and every problem with them. `now` is the time certificates are judged by."""
    problems: list[Problem] = []
    loaded: LoadedProxy | None = None
    if file is not None:
        try:
            loaded = load_proxy(file)
            problems += loaded.problems
            problems += _credentials(loaded, now)
        except ConfigError as error:
            problems += error.problems
    documents = Documents()
    try:
        documents = load_policies([*(loaded.policies if loaded else ()), *paths])
        problems += documents.problems
        if loaded is not None or file is None:
            problems += _together(documents, loaded)
    except ConfigError as error:
        problems += error.problems
    return len(documents) + (loaded is not None), problems


def _together(documents: Documents, loaded: LoadedProxy | None) -> list[Problem]:
    """What shows when all documents are seen together, and what keeps them from being compiled and served."""
    errors: list[Problem] = []
    try:
        if loaded is not None:
            compile_snapshot(loaded.proxy, documents, None, None, chance=Drawn())
        else:
            refuse_unserved(documents)
    except ConfigError as error:
        errors = list((error if loaded is None else loaded.placed(error)).problems)
    told = {(each.file, each.line, each.field) for each in errors}
    warnings = [each for each in cross_check(documents, loaded) if (each.file, each.line, each.field) not in told]
    return sorted([*errors, *warnings], key=lambda problem: (problem.file, problem.line, problem.column))


def _credentials(loaded: LoadedProxy, now: float) -> list[Problem]:
    """What is wrong with the certificates that the bootstrap names."""
    identity = loaded.proxy.spec.identity
    if identity is None or loaded.certificates is None:
        return []
    path = ("spec", "identity", "certificates")
    place = (*loaded.where(path), f"Proxy {loaded.proxy.namespace}/{loaded.proxy.name}", "spec.identity.certificates")
    given = repr(identity.certificates)
    try:
        found = load_credentials(loaded.certificates, identity.trust_domain, now)
    except CredentialError as error:
        return [Problem("error", "file", *place, given, f"not usable: {error}")]
    if str(found.spiffe_id) != loaded.proxy.spiffe_id:
        expected = f"expected a certificate for {loaded.proxy.spiffe_id}; this one is for {found.spiffe_id}"
        return [Problem("error", "value", *place, given, expected, "set 'trustDomain' and 'serviceAccount' to match")]
    if found.is_due(now, LATE):
        expected = (
            f"the certificate expires in {found.remaining(now) / 3600:.1f} hours; nine tenths of its life are over"
        )
        return [Problem("warning", "file", *place, given, expected, "renew it: meshd ca renew, or whoever issued it")]
    return []


def report(
    documents: int, errors: Sequence[Problem], warnings: Sequence[Problem], *, coloured: bool, strict: bool = False
) -> list[str]:
    """The lines for a person: errors, then warnings, then how it stands."""
    lines = [_line(problem, RED, coloured=coloured) for problem in errors]
    lines += [_line(problem, YELLOW, coloured=coloured) for problem in warnings]
    failed = bool(errors or (warnings and strict))
    counts = f"{_count(documents, 'document')}, {_count(len(errors), 'error')}, {_count(len(warnings), 'warning')}"
    verdict = ("not usable" if errors else "not clean" if failed else "ok") + f": {counts}"
    colour = RED if failed else GREEN
    return [*lines, f"{BOLD}{colour}{verdict}{PLAIN}" if coloured else verdict]


def _line(problem: Problem, colour: str, *, coloured: bool) -> str:
    if not coloured:
        return f"{problem.severity}: {problem}"
    rest = str(problem).removeprefix(problem.place)
    return f"{colour}{problem.severity}{PLAIN}: {BOLD}{problem.place}{PLAIN}{rest}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
