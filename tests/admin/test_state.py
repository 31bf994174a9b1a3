import dataclasses

import pytest
from support.admin import FakeController


def test_a_state_does_not_change_under_those_who_ask_it():
    state = FakeController().state
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.istio = None
    assert state.ready() == (True, "")
