"""Two predicates, and which is which."""

from support.requests import request

from meshd.core.matches import Matches


def test_what_may_and_what_must():
    matches = Matches(may=lambda head: head.method == b"GET", must=lambda _: False)
    assert matches.may(request())
    assert not matches.may(request(method="POST"))
    assert not matches.must(request())
