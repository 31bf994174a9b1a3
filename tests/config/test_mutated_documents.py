"""Whatever is done to a document, loading it ends with documents or with mistakes that name their place; never with a
crash."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.cli.check import check
from meshd.config.load import load_policies
from meshd.config.policy_test import Sidecar
from meshd.explain.judge import proxy_of
from meshd.explain.world import World

SIDECAR = proxy_of(Sidecar(name="orders", labels={"app": "orders"}))
LIBRARY = Path(__file__).parents[2] / "policies"
TEXTS = [file.read_text() for file in sorted(LIBRARY.glob("*/*.yaml")) if not file.name.endswith("_test.yaml")]
JUNK = st.sampled_from(
    ["", " ", "\n", "\t", ":", "- ", "{", "}", "[", "]", '"', "'", "#", "&a", "*a", "!!x", "\0", "é", "0"]
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([[], {}, [None], {"a": 1}, "*", "{**}/x", "(", "10.0.0.0/99", "GET", "99999", "-1s"]),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated") / "documents.yaml"


def checked(file, text):
    """Every problem has words and a place; the file as a whole only where it cannot be read at all."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    _, problems = check(None, [file], 0.0)
    for problem in problems:
        assert problem.file == str(file)
        assert problem.line >= 1, problem
        assert problem.column >= 1, problem
        assert problem.message
    if not any(problem.severity == "error" for problem in problems):
        World(SIDECAR, load_policies([file]))  # what has no mistakes compiles
    return problems


@given(st.data())
@settings(max_examples=150)
@pytest.mark.slow
def test_text_that_was_cut_and_pasted(file, data):
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(JUNK) + text[end:]
    checked(file, text)


@given(st.data())
@settings(max_examples=100)
@pytest.mark.slow
def test_lines_that_moved(file, data):
    lines = data.draw(st.sampled_from(TEXTS)).splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    line = lines[place]
    what = data.draw(st.sampled_from(["drop", "twice", "indent", "outdent"]))
    changed = {"drop": [], "twice": [line, line], "indent": ["  " + line], "outdent": [line.removeprefix("  ")]}[what]
    checked(file, "\n".join([*lines[:place], *changed, *lines[place + 1 :]]))


def spots(data, at=()):
    """Every path into plain data."""
    yield at
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in items:
        yield from spots(value, (*at, step))


def put(data, at, value):
    """The data with another value at a path."""
    if not at:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[at[0]] = put(copy[at[0]], at[1:], value)
    return copy


@given(st.data())
@settings(max_examples=150)
@pytest.mark.slow
def test_values_of_other_kinds(file, data):
    documents = list(yaml.safe_load_all(data.draw(st.sampled_from(TEXTS))))
    place = data.draw(st.integers(0, len(documents) - 1))
    at = data.draw(st.sampled_from(list(spots(documents[place]))))
    documents[place] = put(documents[place], at, data.draw(VALUES))
    checked(file, yaml.safe_dump_all(documents, allow_unicode=True))


@given(st.binary(max_size=200))
def test_octets_of_any_kind(file, octets):
    checked(file, octets)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_what_is_not_mutated_has_no_errors(file, text):
    assert [problem for problem in checked(file, text) if problem.severity == "error"] == []
