"""Claims are found by their path: strings, and lists of them, however they are written."""

import pytest

from meshd.core.token import Token

CLAIMS = {
    "one": "a",
    "list": ["a", "b", 3, None],
    "nested": {"inner": {"leaf": ["x"]}, "scope": "a b"},
    "number": 7,
    "truth": True,
    "scope": "read write",
    "other": "read write",
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (("one",), ["a"]),
        (("list",), ["a", "b"]),
        (("nested", "inner", "leaf"), ["x"]),
        (("nested", "inner"), []),
        (("nested", "scope"), ["a b"]),
        (("one", "deeper"), []),
        (("number",), []),
        (("truth",), []),
        (("absent",), []),
        (("scope",), ["read", "write"]),
        (("other",), ["read write"]),
        ((), []),
    ],
)
def test_values_of_a_claim(path, values):
    assert Token("i", "s", CLAIMS, b"", lists=("scope",)).values(*path) == values
