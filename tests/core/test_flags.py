"""Response flags are words of their own: no two mean the same, none breaks the comma list they stand in."""

import re

from meshd.core import flags

ALL = {name: value for name, value in vars(flags).items() if name.isupper()}

# Envoy's access log documentation; whoever reads our logs knows these.
ENVOY = {
    "UH",
    "UF",
    "UC",
    "UR",
    "UT",
    "UO",
    "URX",
    "NR",
    "NC",
    "DC",
    "RL",
    "UAEX",
    "SI",
    "DPE",
    "UPE",
    "DF",
    "DI",
    "FI",
}


def test_each_is_one_word_of_its_own():
    assert len(set(ALL.values())) == len(ALL)
    assert all(re.fullmatch("[A-Z]{2,4}", value) for value in ALL.values())


def test_the_fields_words_are_used_where_it_has_one():
    assert set(ALL.values()) >= ENVOY
