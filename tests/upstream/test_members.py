"""Who may be picked just now: the last tuple costs one comparison, any other is looked at."""

from support.endpoints import make_endpoints

from meshd.upstream.members import Members


def test_everybody_needs_no_set():
    endpoints = make_endpoints(1, 1, 1)
    members = Members()
    members.update(endpoints)
    assert members.allowed(endpoints) is None


def test_some_are_a_set_that_is_kept_while_they_are_the_same():
    endpoints = make_endpoints(1, 1, 1)
    members = Members()
    members.update(endpoints)
    some = endpoints[:2]
    assert members.allowed(some) == set(some)
    assert members.allowed(some) is members.allowed(some)
    assert members.allowed(endpoints[1:]) == set(endpoints[1:])
    assert members.allowed(endpoints) is None


def test_an_update_forgets_them():
    before, after = make_endpoints(1, 1), make_endpoints(1, 1, 1)
    members = Members()
    members.update(before)
    members.allowed(before[:1])
    members.update(after)
    assert members.allowed(after) is None
    assert members.allowed(before[:1]) == {before[0]}
