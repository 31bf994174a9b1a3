"""What being ended from outside means to whoever waited."""

import pytest

from meshd.core.errors import Resend, Side
from meshd.proxy.cut import OF_ATTEMPT, OVERDUE, Cut, error_of


@pytest.mark.parametrize("cause", Cut)
def test_every_cause_is_an_error_that_names_it(cause):
    error = error_of(cause)
    assert error.details == cause.value
    assert error.side is (Side.DOWNSTREAM if cause in (Cut.GONE, Cut.BAD_BODY, Cut.SLOW) else Side.UPSTREAM)
    assert (error.retry is Resend.IF_SAFE) == (cause in OF_ATTEMPT)
    if cause in OVERDUE:
        assert error.status == 504


def test_nobody_is_left_to_tell_when_the_client_has_gone():
    assert error_of(Cut.GONE).status == 0
