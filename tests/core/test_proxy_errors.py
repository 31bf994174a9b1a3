"""The types of RFC 9209 section 2.3: all of them, none that is ours alone."""

import re

from meshd.core import proxy_errors

ALL = {name: value for name, value in vars(proxy_errors).items() if name.isupper()}


def test_each_is_named_as_the_registry_names_it():
    assert len(ALL) == len(set(ALL.values())) == 32
    assert all(value == name.lower() for name, value in ALL.items())


def test_each_is_a_token_of_structured_fields():
    assert all(re.fullmatch(r"[a-z_]+", value) for value in ALL.values())
