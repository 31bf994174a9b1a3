"""A verdict is frozen once given."""

from dataclasses import FrozenInstanceError

import pytest

from meshd.core.decision import ALLOWED_BY_DEFAULT, Verdict


def test_it_must_say_whether_it_is_allowed():
    with pytest.raises(TypeError):
        Verdict()


def test_allowed_by_default_names_nobody():
    verdict = ALLOWED_BY_DEFAULT
    assert (verdict.allowed, verdict.action, verdict.policy, verdict.rule) == (True, "", "", -1)
    assert (verdict.nearest, verdict.failed, verdict.observed) == ("", "", "")


def test_nobody_changes_it_afterwards():
    with pytest.raises(FrozenInstanceError):
        ALLOWED_BY_DEFAULT.allowed = False
