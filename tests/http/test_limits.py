"""Limits that a client of the standard can live with."""

from meshd.http.limits import REQUEST_LIMITS, RESPONSE_LIMITS


def test_a_start_line_may_have_what_the_standard_asks_for():
    assert REQUEST_LIMITS.line >= 8000  # RFC 9112 section 3
    assert REQUEST_LIMITS.line < REQUEST_LIMITS.head <= RESPONSE_LIMITS.head
