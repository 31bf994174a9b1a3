"""Claims are found by their path: strings, numbers, truth values, and lists of them."""

import pytest

from meshd.core.token import Token

CLAIMS = {
    "one": "a",
    "list": ["a", "b", 3, None],
    "nested": {"inner": {"leaf": ["x"]}, "scope": "a b"},
    "number": 7,
    "truth": True,
    "fraction": 1.5,
    "whole": 3.0,
    "huge": 10**5000,
    "identifier": 2**64 - 1,
    "nothing": None,
    "dotted.name": "whole",
    "dotted": {"name": "part"},
    "kubernetes": {"io": {"namespace": "not this"}},
    "kubernetes.io": {"namespace": "team-a", "pod": {"name": "p"}},
    "https://shop.example.com/role": "admin",
    "scope": "read write",
    "other": "read write",
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (("one",), ["a"]),
        (("list",), ["a", "b", "3"]),
        (("nested", "inner", "leaf"), ["x"]),
        (("nested", "inner"), []),
        (("nested", "scope"), ["a b"]),
        (("one", "deeper"), []),
        (("number",), ["7"]),
        (("fraction",), ["1.5"]),
        (("whole",), ["3"]),
        (("huge",), []),
        (("identifier",), ["18446744073709551615"]),
        (("truth",), ["true"]),
        (("nothing",), []),
        (("dotted.name",), ["whole"]),
        (("dotted.name", "deeper"), []),
        (("nested.inner.leaf",), ["x"]),
        (("nested.inner", "leaf"), ["x"]),
        (("nested", "inner.leaf"), ["x"]),
        (("kubernetes.io.namespace",), ["team-a"]),
        (("kubernetes.io", "namespace"), ["team-a"]),
        (("kubernetes.io", "pod.name"), ["p"]),
        (("kubernetes.io.pod.name",), ["p"]),
        (("https://shop.example.com/role",), ["admin"]),
        (("nested.",), []),
        ((".nested",), []),
        (("nested..scope",), []),
        (("absent",), []),
        (("scope",), ["read", "write"]),
        (("other",), ["read write"]),
        ((), []),
    ],
)
def test_values_of_a_claim(path, values):
    assert Token("i", "s", CLAIMS, b"", lists=("scope",)).values(*path) == values
