"""The model of PolicyTest."""

import pytest

from meshd.config.policy_test import Given, PolicyTestSpec


@pytest.mark.parametrize(
    ("given", "inbound"),
    [
        ({}, True),
        ({"from": "a"}, True),
        ({"to": "a"}, False),
        ({"direction": "inbound", "to": "a"}, True),
        ({"direction": "outbound"}, False),
    ],
)
def test_the_direction_shows_in_what_is_given(given, inbound):
    assert Given.model_validate(given).is_inbound is inbound


def test_defaults():
    spec = PolicyTestSpec.model_validate({"cases": [{"name": "a", "expect": {"verdict": "deny"}}]})
    assert (spec.policies, spec.proxy, spec.sidecar.name, spec.sidecar.trust_domain) == (
        (".",),
        None,
        "app",
        "cluster.local",
    )
    assert (spec.cases[0].given.method, spec.cases[0].given.path, spec.cases[0].given.draw) == ("GET", "/", 100)
