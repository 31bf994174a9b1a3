"""One line an event, with the role; levels that change while it runs."""

import json
import logging
import sys

import pytest

from meshd.process import log
from meshd.telemetry.coalesce import BURST, SAME


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


def test_lines_that_a_peer_causes_are_counted_after_a_few(lines):
    log.configure("info")
    for number in range(BURST + 312):
        logging.getLogger("meshd.x").warning("refused %d", number, extra={"kind": ""})
    said = lines().splitlines()
    assert len(said) == BURST + 1
    assert said[-1].endswith(f"WARNING supervisor: refused {BURST + 311} … 312 more like this in 10 s")
    assert log.counts() == (0, 312)


def test_lines_that_say_the_same_are_counted_after_a_few_and_others_are_not(lines):
    log.configure("info")
    for number in range(SAME + 7):
        logging.getLogger("meshd.x").info("serves generation %d", number)
        logging.getLogger("meshd.x").info("the documents say the same")
    said = of_many(lines())
    assert said.count("the documents say the same") == SAME
    assert [line for line in said if "generation" in line] == [f"serves generation {each}" for each in range(SAME + 7)]
    assert log.counts() == (0, 7)


def test_what_another_package_says_is_alike_by_its_template(lines):
    log.configure("info")
    for number in range(BURST + 2):
        logging.getLogger("urllib3").warning("Failed to parse headers (url=%d)", number)
    assert log.counts() == (0, 2)
    assert len(of_many(lines())) == BURST + 1


def test_one_class_of_peers_does_not_hide_another(lines):
    log.configure("info")
    for address in ["10.0.0.0/24"] * 50 + ["10.0.1.0/24"]:
        logging.getLogger("meshd.x").warning("refused %s", address, extra={"kind": address})
    assert "refused 10.0.1.0/24" in of_many(lines())


def test_problems_of_documents_are_all_said(lines):
    log.configure("info")
    for number in range(4 * SAME):
        logging.getLogger("meshd.x").error("%s", f"proxy.yaml:{number}")
    assert len(of_many(lines())) == 4 * SAME


def test_prints_and_tracebacks_take_the_same_way(lines):
    log.configure("info")
    log.take_standard_error()
    print("one\ntwo", file=sys.stderr)
    sys.stderr.write("half")
    assert lines() == "one\ntwo\nhalf\n"


def test_a_child_writes_by_a_thread_and_says_nothing_of_its_parent(lines):
    log.configure("info")
    for _ in range(SAME + 3):
        logging.getLogger("meshd.x").warning("parent")
    log.become("worker-0")
    logging.getLogger("meshd.x").warning("child")
    said = of_many(lines())
    assert said == ["parent"] * SAME + ["child"]
    assert log.counts() == (0, 0)
