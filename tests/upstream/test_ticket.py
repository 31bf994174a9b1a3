"""A place in line: left once, whichever way."""

from collections import OrderedDict

import pytest
from support.connections import FakeConnection, refused

from meshd.upstream.ticket import Ticket


def in_line(count=2):
    line = OrderedDict()
    tickets = [Ticket(5.0, line) for _ in range(count)]
    line.update(dict.fromkeys(tickets))
    return line, tickets


def test_served():
    line, (first, _) = in_line()
    connection = FakeConnection()
    line.popitem(last=False)
    first.serve(connection)
    assert (first.connection, first.permit, first.error) == (connection, False, None)
    assert first.event.is_set()
    assert repr(first) == "<Ticket served, until 5.000>"


def test_permitted_to_dial():
    _, (first, _) = in_line()
    first.admit()
    assert (first.connection, first.permit, first.error) == (None, True, None)
    assert first.event.is_set()


def test_turned_away():
    _, (first, _) = in_line()
    error = refused()
    first.refuse(error)
    assert (first.connection, first.permit, first.error) == (None, False, error)
    assert first.event.is_set()


def test_expired_from_the_middle_of_the_line():
    line, (first, second, third) = in_line(3)
    assert repr(second) == "<Ticket in line, until 5.000>"
    second.expire()
    assert list(line) == [first, third]
    assert second.event.is_set()
    assert repr(second) == "<Ticket over, until 5.000>"


@pytest.mark.parametrize("ending", ["serve", "admit", "refuse"])
def test_who_was_told_already_cannot_expire(ending):
    line, (first, second) = in_line()
    line.popitem(last=False)
    getattr(first, ending)(*{"serve": [FakeConnection()], "refuse": [refused()]}.get(ending, []))
    told = (first.connection, first.permit, first.error)
    first.expire()
    assert (first.connection, first.permit, first.error) == told
    assert list(line) == [second]


def test_leaving_tells_nobody():
    line, (first, second) = in_line()
    first.leave()
    first.leave()
    assert list(line) == [second]
    assert not first.event.is_set()
    first.expire()
    assert not first.event.is_set()
