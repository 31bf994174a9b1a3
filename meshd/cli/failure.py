"""How a command says that it failed: `meshd: error: ` on standard error; with --json one object on standard output."""

import argparse
import json
import sys
from collections.abc import Iterable
from typing import NoReturn

from meshd.cli.exit_codes import UNUSABLE
from meshd.config.errors import ConfigError, Problem

PREFIX = "meshd: "


class Parser(argparse.ArgumentParser):
    """One whose errors read like all others. `as_json` holds for the command line that is being read."""

    as_json = False

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and end."""
        if not Parser.as_json:
            self.print_usage(sys.stderr)
        self.exit(say(message, UNUSABLE, as_json=Parser.as_json))


def fail(args: argparse.Namespace, why: str | ConfigError, code: int = UNUSABLE) -> int:
    """Say why the command failed, the way its command line asks for; the exit code."""
    return say(why, code, as_json=bool(getattr(args, "json", False)))


def say(why: str | ConfigError, code: int, *, as_json: bool) -> int:
    """Say why a command failed; the exit code."""
    if as_json:
        if isinstance(why, ConfigError):
            errors = [{**problem.as_json(), "message": problem.message} for problem in why.problems]
        else:
            errors = [{"severity": "error", "message": why}]
        print(json.dumps({"ok": False, "errors": errors}, indent=2, ensure_ascii=False))
    elif isinstance(why, ConfigError):
        say_problems(why.problems)
    else:
        print(f"{PREFIX}error: {why}", file=sys.stderr)
    return code


def say_problems(problems: Iterable[Problem]) -> None:
    """Every problem, as one line on standard error."""
    for problem in problems:
        print(f"{PREFIX}{problem.severity}: {problem}", file=sys.stderr)
