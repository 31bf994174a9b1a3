"""The soft limit of descriptors is raised for us and given back to the app."""

import subprocess
import sys

import pytest

from meshd.process import descriptors

CODE = """
import resource, sys
from meshd.process import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
descriptors.raise_limit()
print(descriptors.limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
descriptors.restore_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize("hard", [64, 200])
def test_the_soft_limit_becomes_the_hard_one_and_is_given_back(hard):
    said = subprocess.run(
        [sys.executable, "-c", CODE, str(hard)], check=True, capture_output=True, text=True, timeout=60
    )
    assert said.stdout.split("\n") == [f"{hard} {hard}", f"(64, {hard})", ""]


@pytest.mark.parametrize(
    ("there", "wanted", "allowed"),
    [
        (256, None, 102),
        (1024, None, 409),
        (1024, 100, 100),
        (1_048_576, None, 10_000),
        (1_048_576, 50_000, 50_000),
        (5, None, 4),
    ],
)
def test_fewer_than_half_are_for_clients(monkeypatch, there, wanted, allowed):
    monkeypatch.setattr(descriptors, "limit", lambda: there)
    assert descriptors.connections(wanted) == allowed
