"""One line an event, with the role; levels that change while it runs."""

import json
import logging

import pytest

from meshd.process import log


@pytest.fixture
def lines(capsys):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    log.become("supervisor")


def test_a_line_names_level_and_role(lines):
    log.configure("info")
    log.become("worker-3")
    logging.getLogger("meshd.x").warning("it is %s", "late")
    assert lines().endswith("WARNING worker-3: it is late\n")


def test_a_line_may_be_json_with_the_traceback_inside(lines):
    log.configure("info", as_json=True)
    try:
        {}["gone"]
    except KeyError:
        logging.getLogger("meshd.x").exception("broke\nin two")
    told = json.loads(lines())
    assert (told["level"], told["role"], told["message"]) == ("error", "supervisor", "broke\nin two")
    assert "KeyError: 'gone'" in told["traceback"]


def test_levels_change_and_nonsense_does_not(lines):
    log.configure("warning")
    logging.getLogger().info("unheard")
    log.set_level("debug")
    log.set_level("nonsense")
    logging.getLogger().debug("heard")
    assert [line.rpartition(": ")[2] for line in lines().splitlines()] == ["heard"]
