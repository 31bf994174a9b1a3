"""Durations in both dialects, and back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.config.duration import GATEWAY, GO, format_duration, parse_duration, parse_gateway_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1h2m3s4ms", 3723.004), ("0s", 0), ("1m30s", 90), ("99999h", 359996400), ("500ms", 0.5)],
)
def test_gateway_durations(text, seconds):
    assert parse_gateway_duration(text) == parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "1.5s", "100000s", "1s1s1s1s1s", "-1s", "1us", "1s\n", " 1s", "1S", "\u0661s"]
)
def test_what_is_no_gateway_duration(text):
    assert parse_gateway_duration(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1.5s", 1.5), ("0", 0), (".5s", 0.5), ("1.s", 1), ("100us", 1e-4), ("100µs", 1e-4), ("3ns", 3e-9)],
)
def test_go_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "s", ".s", "1 s", "+1s", "-1s", "1d", "1s\n", "9" * 20 + "h", "1e3s"])
def test_what_is_no_go_duration(text):
    assert parse_duration(text) is None


@given(st.integers(0, 10**9))
def test_what_is_written_reads_back(milliseconds):
    seconds = milliseconds / 1000
    assert parse_gateway_duration(format_duration(seconds)) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text("0123456789.hmsun", max_size=12))
def test_a_duration_is_what_the_patterns_say(text):
    too_long = max((len(digits) for digits in re.findall("[0-9]+", text)), default=0) > 6  # 292 years and more
    assert (parse_duration(text) is not None) == bool(re.search(GO, text)) or too_long
    assert (parse_gateway_duration(text) is not None) == bool(re.search(GATEWAY, text))


def test_fractions_of_a_millisecond_are_kept():
    assert format_duration(0.0015) == "1ms500000ns"
    assert parse_duration("1ms500000ns") == 0.0015
