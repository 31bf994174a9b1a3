import re

import pytest
from support.conventions import metrics

from meshd.telemetry.names import DESCRIPTIONS, description


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_every_metric_says_what_it_is(name):
    found = description(name)
    assert found.text.endswith(".")
    assert found.unit in {"1", "s", "By"} or re.fullmatch(r"\{[a-z]+\}", found.unit)  # UCUM


@pytest.mark.parametrize("name", [name for name in DESCRIPTIONS if not name.startswith("meshd.")])
def test_a_metric_that_is_not_ours_is_the_conventions(name):
    assert name in metrics()


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_no_name_of_ours_is_taken_from_the_conventions(name):
    assert name.startswith("meshd.") or name.split(".")[0] in {"http", "rpc"}


def test_an_unknown_metric_is_told_of_by_name():
    assert description("meshd.new").text == "meshd.new, as meshd counts it."
