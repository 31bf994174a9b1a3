"""Where the adversarial cases and the conformance data are read from."""

import json
import os
from pathlib import Path

import pytest

HOME = Path(os.environ.get("MESHD_SHARED", Path(__file__).parents[3] / "shared"))


def shared_folder(name: str) -> Path:
    """The folder `name` of the shared data; the test is skipped only when it is not there."""
    folder = HOME / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not beside the project", allow_module_level=True)
    return folder


def cases(file: str) -> list[dict]:
    """Every row of one case file."""
    with (shared_folder("cases") / file).open() as lines:
        return [json.loads(line) for line in lines]
