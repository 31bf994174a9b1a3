"""The version."""

import json
import platform

from meshd import __version__
from meshd.cli.main import main


def test_programs_learn_the_interpreter_too(capsys):
    assert main(["--version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": __version__, "python": platform.python_version()}
