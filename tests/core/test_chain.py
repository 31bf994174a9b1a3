"""A chain is its steps in their order, and adding chains loses none."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.chain import EMPTY_CHAIN, Chain

STEPS = st.lists(st.integers().map(lambda number: lambda *_: number), max_size=4).map(tuple)
CHAINS = st.builds(Chain, STEPS, STEPS)


@given(CHAINS, CHAINS, CHAINS)
def test_adding_keeps_the_order_of_both_phases(one, two, three):
    whole = one + two + three
    assert whole.on_request == one.on_request + two.on_request + three.on_request
    assert whole.on_response == one.on_response + two.on_response + three.on_response
    assert whole == one + (two + three)


@given(CHAINS)
def test_the_empty_chain_adds_nothing(chain):
    assert chain + EMPTY_CHAIN == EMPTY_CHAIN + chain == chain


def test_a_chain_never_changes():
    with pytest.raises(FrozenInstanceError):
        EMPTY_CHAIN.on_request = ()
