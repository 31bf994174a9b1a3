"""One line an event, with the role; levels that change while it runs."""

import json
import logging
import sys

import pytest

from meshd.process import log
from meshd.telemetry.coalesce import BURST


@pytest.fixture
def lines(capfd):
    root = logging.getLogger()
    handlers, level, stderr = root.handlers[:], root.level, sys.stderr
    yield lambda: log.close() or capfd.readouterr().err
    sys.stderr = stderr
    root.handlers[:] = handlers
    root.setLevel(level)
    log._handlers.clear()
    log.become("supervisor")


def of_many(said):
    """What is left of a line without its time and role."""
    return [line.rpartition(": ")[2] for line in said.splitlines()]


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


def test_lines_that_are_alike_are_counted_after_a_few(lines):
    log.configure("info")
    for number in range(BURST + 312):
        logging.getLogger("meshd.x").warning("refused %d", number)
    said = lines().splitlines()
    assert len(said) == BURST + 1
    assert said[-1].endswith(f"WARNING supervisor: refused {BURST + 311} … 312 more like this in 10 s")
    assert log.counts() == (0, 312)


def test_one_class_of_peers_does_not_hide_another(lines):
    log.configure("info")
    for address in ["10.0.0.0/24"] * 50 + ["10.0.1.0/24"]:
        logging.getLogger("meshd.x").warning("refused %s", address, extra={"peer": address})
    assert "refused 10.0.1.0/24" in of_many(lines())


def test_problems_of_documents_are_all_said(lines):
    log.configure("info")
    for number in range(4 * BURST):
        logging.getLogger("meshd.x").error("%s", f"proxy.yaml:{number}")
    assert len(of_many(lines())) == 4 * BURST


def test_prints_and_tracebacks_take_the_same_way(lines):
    log.configure("info")
    log.take_standard_error()
    print("one\ntwo", file=sys.stderr)
    sys.stderr.write("half")
    assert lines() == "one\ntwo\nhalf\n"


def test_a_child_writes_by_a_thread_and_says_nothing_of_its_parent(lines):
    log.configure("info")
    for _ in range(BURST + 3):
        logging.getLogger("meshd.x").warning("parent")
    log.become("worker-0")
    logging.getLogger("meshd.x").warning("child")
    said = of_many(lines())
    assert said == ["parent"] * BURST + ["child"]
    assert log.counts() == (0, 0)
