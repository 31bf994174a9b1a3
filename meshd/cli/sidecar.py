"""The sidecar that a command is about: its bootstrap and its documents, read and compiled to be asked, not to serve."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from meshd.cli.proxy_file import add_file
from meshd.config.bootstrap import LoadedProxy, load_proxy
from meshd.config.errors import ConfigError
from meshd.config.load import load_policies
from meshd.explain.world import World


def add_sidecar(parser: argparse.ArgumentParser) -> None:
    """The options that name it."""
    add_file(parser)
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
    documents = load_policies(policies or loaded.policies)
    try:
        return loaded, World(loaded.proxy, documents)
    except ConfigError as error:
        raise loaded.placed(error) from error
