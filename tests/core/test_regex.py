"""Patterns of documents: RE2's dialect, all of the value, linear in time, bounded in memory."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.regex import MAX_LENGTH, compile_regex, regex_fault

ALLOWED = 5.0  # seconds for what takes milliseconds, on a busy machine; a backtracking engine needs hours


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("a|ab", b"ab", True),  # all of the value, whichever alternative would be tried first
        ("/user/[[:digit:]]+", b"/user/42", True),
        ("/user/[[:digit:]]+", b"/user/x", False),
        ("[[:^alpha:][:space:]]+", b"1 2", True),
        (r"\d+\s\w\D\S\W", b"12 a-b.", True),
        (r"\pL+", "größe".encode(), True),
        (r"\p{Greek}", "λ".encode(), True),
        (r"\PL", b"a", False),
        (r"\Qa.b\E", b"a.b", True),
        (r"\Qa.b\E", b"axb", False),
        (r"\x{e9}t\xe9", "été".encode(), True),
        ("(?i)mozilla/.*", b"Mozilla/5.0", True),
        ("(?P<name>a)(?:b)", b"ab", True),
        ("a.b", b"a\nb", False),
        ("(?s)a.b", b"a\nb", True),
        ("a*?b", b"aab", True),
        ("(?U)a*b", b"aab", True),
        (r"\Aab\z", b"ab", True),
        ("^ab$", b"ab", True),
        ("ab$", b"ab\n", False),  # RE2's `$` is the end and not the line before it
        ("[^a]", "é".encode(), True),  # one character, though two octets
        (".", "é".encode(), True),
        ("é", "é".encode(), True),
        ("", b"", True),
        ("", b"a", False),
    ],
)
def test_the_dialect_is_re2s_and_all_of_the_value_must_match(pattern, value, expected):
    assert regex_fault(pattern) == ""
    assert compile_regex(pattern)(value) is expected


@pytest.mark.parametrize(
    ("pattern", "value"), [(".*bot.*", b"\xffbot\xfe"), (".*", b"\xc3"), ("[^/]+", b"caf\xe9"), ("caf\xe9", b"caf\xe9")]
)
def test_an_octet_that_is_not_utf_8_takes_no_value_out_of_reach(pattern, value):
    assert compile_regex(pattern)(value)


@given(st.binary(max_size=20))
def test_whatever_has_no_line_break_is_taken_by_anything(value):
    assert compile_regex(".*")(value) == (b"\n" not in value)


@given(
    st.from_regex(r"[ab.]{1,6}[*+?]?", fullmatch=True), st.binary(max_size=8).map(lambda x: x.translate(b"ab" * 128))
)
def test_where_both_dialects_agree_the_answers_do(pattern, value):
    assert compile_regex(pattern)(value) == (re.fullmatch(pattern.encode(), value) is not None)


@pytest.mark.parametrize(
    ("pattern", "said", "reason"),
    [
        ("a(?=b)", "(?=", "lookahead"),
        ("a(?!b)", "(?!", "lookahead"),
        ("(?<=a)b", "(?<", "lookbehind"),
        ("(?<!a)b", "(?<", "lookbehind"),
        (r"(a)\1", r"\1", "backreferences"),
        (r"(?P<n>a)\k<n>", r"\k", "backreferences"),
        ("(?>a+)b", "(?>", "atomic groups"),
        ("a++b", "++", "possessive"),
        (r"a\Z", r"\Z", r"write \z"),
        (r"\u00e9", r"\u", r"write \x{...}"),
        ("a{1001}", "{1001}", "1000 times"),
        ("((a{100}){100}){100}", "repetition", "1000 times"),
        (r"\pL{1,500}", "too large", "512 KiB"),
        ("(a", "missing )", ""),
        ("[a", "missing ]", ""),
        ("*a", "repetition", ""),
        ("a" * (MAX_LENGTH + 1), f"at most {MAX_LENGTH} characters", ""),
        ("\ud800", "surrogate", ""),
    ],
)
def test_what_re2_does_not_take_is_told_with_its_reason(pattern, said, reason):
    fault = regex_fault(pattern)
    assert fault.startswith("expected a regular expression")
    assert said in fault
    assert reason in fault
    with pytest.raises(ValueError, match="expected a regular expression"):
        compile_regex(pattern)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("(a+)+b", b"a" * 60_000),
        ("(?:a?){30}a{30}", b"a" * 29),
        ("/.*/v1/.*/items/.*/x", b"/" + b"v1/items/" * 6_600),
        (".*(iPhone|Android).*Mobile.*", b"Android" * 8_500),
        (".*a.{900}", b"ab" * 30_000),  # no automaton of this fits: simulated
        (r"(\w+\s?)*!", b"word " * 12_000),
    ],
)
@pytest.mark.slow
def test_no_value_makes_a_pattern_take_long(pattern, value):
    matches = compile_regex(pattern)
    began = time.perf_counter()
    assert not matches(value)
    assert time.perf_counter() - began < ALLOWED


def test_re2_writes_nothing_to_stderr(capfd):
    assert regex_fault("(")
    compile_regex(".*a.{900}")(b"ab" * 2_000)
    assert capfd.readouterr() == ("", "")
