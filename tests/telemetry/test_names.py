import pytest

from meshd.telemetry.names import DESCRIPTIONS, description


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_every_metric_says_what_it_is(name):
    found = description(name)
    assert found.text.endswith(".")
    assert found.unit in {"", "s", "By"}


def test_an_unknown_metric_is_told_of_by_name():
    assert description("meshd.new").text == "meshd.new, as meshd counts it."
