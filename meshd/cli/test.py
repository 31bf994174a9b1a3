"""`meshd test`: policies against cases, without a network and by the very engine that serves.

Exit code 0: every case passed; 1: one did not; 2: a file is not usable, or the command line makes no sense.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshd.cli.exit_codes import NO, OK
from meshd.cli.failure import fail
from meshd.cli.terminal import BOLD, DIM, GREEN, RED, Terminal, printable
from meshd.config.bootstrap import load_proxy
from meshd.config.errors import ConfigError, Problem, one_of, quote
from meshd.config.errors import Path as FieldPath
from meshd.config.examine import examine
from meshd.config.folder import TESTS
from meshd.config.load import load_policies
from meshd.config.policy_test import PolicyTest
from meshd.config.reader import flatten, read_file, title_of
from meshd.config.spot import Spot
from meshd.config.yaml_file import Value
from meshd.explain.judge import Mismatch, judge, proxy_of
from meshd.explain.question import Unaskable
from meshd.explain.world import World
from meshd.identity.spiffe import InvalidSpiffeId

VERSION: Final = "meshd.dev/v1alpha1"
MOST_FILES: Final = 1000


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "test policies against cases, without a network"
    parser = subparsers.add_parser("test", help=told, description=told)
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FILE", help="PolicyTest files, or folders of *_test.yaml"
    )
    parser.add_argument("--verbose", "-v", action="store_true", help="also name the cases that passed")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class Loaded:
    """One PolicyTest and where it stands."""

    model: PolicyTest
    file: Path
    spot: Spot

    def place(self, at: FieldPath) -> str:
        """`file:line` of a value, or of the nearest around it."""
        return f"{self.file}:{self.spot.find(at).line}"


@dataclass(frozen=True, slots=True)
class Result:
    """One case and what was not as expected."""

    name: str
    place: str
    mismatches: tuple[tuple[str, Mismatch], ...]  # each with its place

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.mismatches


def run(args: argparse.Namespace) -> int:
    """Test and tell; the exit code."""
    try:
        results = [result for loaded in read_tests(args.paths) for result in results_of(loaded)]
    except ConfigError as error:
        return fail(args, error)
    failed = sum(not result.passed for result in results)
    if args.json:
        print(json.dumps(_as_json(results), indent=2, ensure_ascii=False))
    else:
        lines = [line for result in results for line in _lines(result, Terminal.of(), verbose=args.verbose)]
        print("\n".join([*lines, _summary(len(results), failed, Terminal.of())]))
    return NO if failed else OK


# -- reading ----------------------------------------------------------------------------------------------------------


def read_tests(paths: Sequence[Path]) -> list[Loaded]:
    """Every PolicyTest of these files and folders. Raises ConfigError with every mistake of every file."""
    found: list[Loaded] = []
    problems: list[Problem] = []
    for file in _files(paths, problems):
        texts, trouble = read_file(file)
        problems += trouble
        for text in texts:
            for data, spot in flatten(text.data, text.spot):
                model, trouble = _read(data, spot, str(file))
                problems += trouble
                found += [Loaded(model, file, spot)] if model is not None else []
    if problems:
        raise ConfigError(problems)
    if not found:
        raise ConfigError([Problem("error", "file", str(paths[0]), expected="expected a PolicyTest, there is none")])
    return found


def _files(paths: Sequence[Path], problems: list[Problem]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        names = sorted(each for each in path.rglob("*") if each.name.endswith(TESTS) and each.is_file())
        if not names or len(names) > MOST_FILES:
            expected = f"expected 1 to {MOST_FILES} files whose names end with {' or '.join(TESTS)}"
            problems.append(Problem("error", "file", str(path), given=f"{len(names)} files", expected=expected))
            continue
        yield from names


def _read(data: Value, spot: Spot, file: str) -> tuple[PolicyTest | None, list[Problem]]:
    def where(path: FieldPath, key: bool) -> tuple[str, int, int]:  # noqa: FBT001  # the shape of examine.Where
        at = spot.find(path)
        return (file, at.key_line, at.key_column) if key else (file, at.line, at.column)

    wanted = {"kind": "PolicyTest", "apiVersion": VERSION}
    for field, value in wanted.items():
        given = data.get(field) if isinstance(data, dict) else None
        if given != value:
            shown = quote(given) if given is not None else ""
            at = spot.find((field,))
            expected = one_of((value,))
            return None, [Problem("error", "value", file, at.line, at.column, "", field, shown, expected)]
    return examine(PolicyTest, data, title_of(data), where)


# -- judging ----------------------------------------------------------------------------------------------------------


def world_of(loaded: Loaded) -> World:
    """The sidecar and the documents that a PolicyTest names. Raises ConfigError."""
    spec = loaded.model.spec
    folder = Path(os.path.abspath(loaded.file)).parent
    proxy = load_proxy(folder / spec.proxy).proxy if spec.proxy is not None else proxy_of(spec.sidecar)
    return World(proxy, load_policies([folder / name for name in spec.policies]))


def results_of(loaded: Loaded) -> Iterator[Result]:
    """Every case of one PolicyTest. Raises ConfigError when what it tests does not load."""
    world = world_of(loaded)
    for number, case in enumerate(loaded.model.spec.cases):
        at: FieldPath = ("spec", "cases", number)
        try:
            mismatches = judge(case, world)
        except (Unaskable, InvalidSpiffeId) as error:
            mismatches = [Mismatch(("given",), "a request that makes sense", str(error))]
        placed = tuple((loaded.place((*at, *each.at)), each) for each in mismatches)
        yield Result(case.name, loaded.place(at), placed)


# -- telling ----------------------------------------------------------------------------------------------------------


def _lines(result: Result, terminal: Terminal, *, verbose: bool) -> Iterator[str]:
    if result.passed:
        if verbose:
            yield f"{terminal.paint('passed', GREEN)}  {printable(result.name)}  {terminal.paint(result.place, DIM)}"
        return
    yield f"{terminal.paint('FAILED', RED)}  {printable(result.name)}  {terminal.paint(result.place, DIM)}"
    for place, mismatch in result.mismatches:
        name = ".".join(map(str, mismatch.at[1:])) or str(mismatch.at[0])
        told = f"{name}: expected {mismatch.expected}, got {mismatch.found}"
        yield f"  {terminal.paint(place, BOLD)}: {printable(told)}"


def _summary(cases: int, failed: int, terminal: Terminal) -> str:
    noun = "case" if cases == 1 else "cases"
    return terminal.paint(f"{cases} {noun}, {failed} failed", RED if failed else GREEN)


def _as_json(results: Sequence[Result]) -> dict[str, object]:
    return {
        "ok": all(result.passed for result in results),
        "passed": sum(result.passed for result in results),
        "failed": sum(not result.passed for result in results),
        "cases": [
            {
                "name": result.name,
                "place": result.place,
                "passed": result.passed,
                "mismatches": [
                    {
                        "place": place,
                        "field": ".".join(map(str, each.at)),
                        "expected": each.expected,
                        "found": each.found,
                    }
                    for place, each in result.mismatches
                ],
            }
            for result in results
        ],
    }
