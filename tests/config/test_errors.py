"""Problems as text and as JSON, names of fields, quoting, nearest names."""

import pickle

import pytest

from meshd.config.errors import SHOWN, ConfigError, Problem, did_you_mean, field_name, one_of, quote

FULL = Problem(
    "error", "value", "f.yaml", 3, 5, "Route a/b", "spec.x[0].y", "'foo'", "expected 'bar'", "did you mean 'bar'?"
)


def test_problem_reads_as_one_line():
    said = "f.yaml:3:5: Route a/b spec.x[0].y: got 'foo', expected 'bar'; did you mean 'bar'?"
    assert str(FULL) == said


def test_problem_leaves_out_what_it_does_not_know():
    assert str(Problem("error", "file", "f.yaml", expected="cannot be read")) == "f.yaml: cannot be read"


def test_problem_as_json_has_every_slot():
    assert FULL.as_json() == {name: getattr(FULL, name) for name in Problem.__slots__}


def test_config_error_travels_and_lists_all():
    error = ConfigError([FULL, FULL])
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == error.problems == (FULL, FULL)
    assert str(error).count("f.yaml:3:5") == len(error.as_json()) == 2


@pytest.mark.parametrize(
    ("path", "name"),
    [((), ""), (("a", 0, "b"), "a[0].b"), (("labels", "a.b/c"), 'labels["a.b/c"]'), ((0, "a"), "[0].a")],
)
def test_field_names(path, name):
    assert field_name(path) == name


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "null"), (True, "true"), (False, "false"), (1, "1"), ("a", "'a'"), ({}, "a mapping"), ((), "a list")],
)
def test_quotes(value, shown):
    assert quote(value) == shown


def test_long_values_are_cut():
    assert len(quote("x" * 1000)) == SHOWN


def test_choices_and_nearest():
    assert one_of(["a"]) == "expected 'a'"
    assert one_of(["a", 1]) == "expected one of 'a', 1"
    assert did_you_mean("STRCIT", ["STRICT", "DISABLE"]) == "did you mean 'STRICT'?"
    assert did_you_mean("zzz", ["STRICT"]) == ""


def test_documents_cannot_steer_a_terminal():
    said = str(Problem("error", "value", "f.yaml", 1, 1, "Route a/\x1b[2J", "b", "", "é"))
    assert said == "f.yaml:1:1: Route a/\\x1b[2J b: é"


def test_long_names_are_cut_and_not_compared():
    assert len(field_name(("x" * 100_000, "y"))) < 80
    assert did_you_mean("x" * 100_000, ["x" * 100_000]) == ""
