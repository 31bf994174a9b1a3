"""A hint costs a look at every name, so there are as many as a check can afford."""

from meshd.config import hints
from meshd.config.hints import Hints


def test_the_nearest_name():
    assert Hints().nearest("revews", ["orders", "reviews"]) == "did you mean 'reviews'?"
    assert Hints().nearest("zzz", ["orders"]) == ""


def test_after_so_many_names_nothing_is_compared(monkeypatch):
    monkeypatch.setattr(hints, "MOST_COMPARED", 3)
    check = Hints()
    assert [bool(check.nearest("port1", ["port2", "port3"])) for _ in range(3)] == [True, True, False]
    assert repr(check) == "<Hints, 4 of 3 names compared>"
