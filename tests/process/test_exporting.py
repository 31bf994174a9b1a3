"""How often metrics are exported."""

import pytest

from meshd.process.exporting import INTERVAL, VARIABLE, interval_of


@pytest.mark.parametrize(("text", "seconds"), [("1000", 1.0), ("60000", 60.0), ("3600000", 3600.0), ("1500", 1.5)])
def test_the_environment_says_it_in_milliseconds(text, seconds):
    assert interval_of({VARIABLE: text}) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "10", "-5", "often", "1e4", "3600001", "9" * 5000, "\u0661\u0660\u0660\u0660"]
)
def test_what_is_no_interval_changes_nothing(text):
    assert interval_of({VARIABLE: text}) == INTERVAL
    assert interval_of({}) == INTERVAL
