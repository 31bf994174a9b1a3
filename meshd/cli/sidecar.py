"""The sidecar that a command is about: its bootstrap and its documents, read and compiled to be asked, not to serve."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from meshd.config.bootstrap import LoadedProxy, load_proxy
from meshd.config.errors import ConfigError
from meshd.config.load import load_policies
from meshd.explain.world import World


def add_sidecar(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """The options that name it."""
    parser.add_argument("-f", "--file", type=Path, required=required, help="the Proxy document")
    parser.add_argument(
        "--policies",
        type=Path,
        action="append",
        metavar="PATH",
        help="a file or folder, in the place of the policies that the Proxy document names; may be repeated",
    )


def load_world(file: Path, policies: Sequence[Path] | None) -> tuple[LoadedProxy, World]:
    """The bootstrap, and the documents compiled for it. Raises ConfigError."""
    loaded = load_proxy(file)
    return loaded, World(loaded.proxy, load_policies(policies or loaded.policies))


def tell_problems(error: ConfigError) -> int:
    """Print every mistake; the exit code."""
    for problem in error.problems:
        print(f"{problem.severity}: {problem}", file=sys.stderr)
    return 2
