"""Text to data with positions: the YAML 1.2 core schema, and bounds on everything."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.config.yaml_file import MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_PROBLEMS, parse, resolve


def read(text, environ=None):
    texts, problems = parse(text.encode() if isinstance(text, str) else text, "f.yaml", environ)
    return [each.data for each in texts], problems


def one(text, environ=None):
    [data], problems = read(text, environ)
    assert problems == []
    return data


def refusal(text, environ=None):
    problems = read(text, environ)[1]
    assert problems
    return problems[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-1", -1), ("0", 0), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("true", True), ("False", False),
        ("null", None), ("~", None), ("", None), ("yes", "yes"), ("no", "no"), ("on", "on"), ("0777", "0777"),
        ("1_000", "1_000"), ("12:30", "12:30"), ("2020-01-01", "2020-01-01"), ("0x10", "0x10"), ("9" * 41, "9" * 41),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_quoted_and_tagged_scalars_are_strings():
    assert one("- '1'\n- \"true\"\n- !!str 2\n- |-\n  3\n") == ("1", "true", "2", "3")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=20,
)


def listed(value):
    if isinstance(value, tuple):
        return [listed(item) for item in value]
    return {key: listed(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(json_values)
def test_json_reads_as_json_reads_it(value):
    assert listed(one(json.dumps(value))) == value


def test_positions_of_keys_and_values():
    texts, _ = parse(b"a:\n  - b: 1\n    c: [x,  y]\n", "f.yaml")
    assert texts[0].spot.find(("a", 0, "c", 1))[:4] == (3, 13, 3, 13)
    assert texts[0].spot.find(("a", 0, "c"))[:4] == (3, 8, 3, 5)
    assert texts[0].spot.find(("a", 7, "c"))[:2] == (2, 3)


def test_keys_are_strings():
    assert one("8080: 1\ntrue: 2\nnull: 3") == {"8080": 1, "true": 2, "null": 3}


def test_duplicate_key_names_both_places():
    problem = refusal("a: 1\nb: 2\na: 3")
    assert (problem.rule, problem.line, problem.column) == ("duplicate", 3, 1)
    assert "line 1, column 1" in problem.expected


def test_aliases_and_merges():
    assert one("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}") == {"a": {"x": 1, "y": 2}, "b": {"y": 3, "x": 1}}
    assert one("a: &a {x: 1}\nb: &b {z: 2}\nc: {<<: [*a, *b]}")["c"] == {"x": 1, "z": 2}
    assert "merges a mapping" in refusal("a: {<<: 1}").expected


def test_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert str(MAX_NODES) in refusal("\n".join(lines)).expected


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_ten_thousand_levels_are_a_problem(opening):
    problem = refusal(opening * 10_000)
    assert f"deeper than {MAX_DEPTH}" in problem.expected
    assert len(problem.field) < 200


def test_a_hundred_levels_are_read():
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH)[1] == []


def test_large_files_are_refused():
    assert "at most" in refusal(b"a" * (MAX_BYTES + 1)).expected


@pytest.mark.parametrize(
    ("octets", "at"),
    [
        (b"a: 1\nb: \xff", (2, 4)),
        ("é: [\x07]".encode(), (1, 5)),
        (b"a: b: c", (1, 5)),
        (b"? [a]\n: b", (1, 3)),
        (b"? *a\n: b", (1, 3)),
        (b"a: !!python/name:os.system x", (1, 4)),
        (b"a: &a [*a]", (1, 8)),
        (b"%YAML 9.9\n---\n", (1, 1)),
    ],
)
def test_what_is_not_yaml_says_where(octets, at):
    problem = refusal(octets)
    assert (problem.rule, problem.line, problem.column) == ("syntax", *at)


def test_what_came_before_a_mistake_is_kept():
    data, problems = read("a: 1\n---\nb: [")
    assert data == [{"a": 1}]
    assert len(problems) == 1


def test_environment_expands_in_values_only():
    environ = {"N": "3", "S": "x y"}
    text = "a: ${N}\nb: '${N}'\nc: pre-${S}\n${N}: 1\nd: $${N}\ne: $N\n"
    assert one(text, environ) == {"a": 3, "b": "3", "c": "pre-x y", "${N}": 1, "d": "${N}", "e": "$N"}
    assert one("a: ${N}") == {"a": "${N}"}


def test_expanded_paths_are_known():
    texts, _ = parse(b"a: [x, '${N}', '$${N}']", "f.yaml", {"N": ""})
    assert texts[0].expanded == {("a", 1)}
    assert texts[0].data == {"a": ("x", "", "${N}")}


def test_unset_variable_is_an_error_for_each_use():
    problems = read("a: ${X}\nb: ${Y", {})[1]
    assert [(problem.line, problem.rule) for problem in problems] == [(1, "value"), (2, "value")]
    assert "'X' is not set" in problems[0].expected


def test_byte_order_mark_is_left_out():
    assert one(b"\xef\xbb\xbfa: 1") == {"a": 1}


def test_problems_of_one_file_are_bounded():
    assert len(read("a: 1\n" * 1000)[1]) == MAX_PROBLEMS
