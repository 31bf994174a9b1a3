"""Clients that take nothing give way to those who wait for the connections that they hold, and to nobody else."""

from types import SimpleNamespace

import pytest
from support.endpoints import make_endpoints
from support.exchanges import make_exchange

from meshd.core.endpoint import Endpoint
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight
from meshd.proxy.slow_readers import PATIENCE, relieve

NOW = 1000.0


class Down:
    """A client's side that only notes that it was ended."""

    def abort(self, reason, status):
        self.reason = reason


def flight_to(endpoint, writing_since):
    exchange = make_exchange()
    exchange.attempts[-1].endpoint = endpoint
    exchange.ended = 0.0
    flight = Flight(exchange, Down())
    flight.writing_since = writing_since
    return flight


def pool_of(endpoint, waiting):
    return SimpleNamespace(endpoint=endpoint, waiting=waiting, patience=0)


@pytest.fixture
def endpoints():
    return make_endpoints(1)


def test_as_many_as_wait_are_freed_the_longest_blocked_first(endpoints):
    here = endpoints[0]
    flights = [flight_to(here, NOW - age) for age in (1.0, 3.0, 2.0)]
    pool = pool_of(here, waiting=2)
    assert relieve([pool], flights, NOW) == 2
    assert [flight.cause for flight in flights] == [None, Cut.SLOW, Cut.SLOW]
    assert flights[1].down.reason == "downstream_write_blocked"
    assert pool.patience == 3


def test_who_reads_who_waits_for_the_app_and_who_uses_another_endpoint_stays(endpoints):
    here, there = endpoints[0], Endpoint("10.0.0.2", 80)
    reading, asking, elsewhere = flight_to(here, NOW - PATIENCE / 2), flight_to(here, 0.0), flight_to(there, NOW - 60)
    pool = pool_of(here, waiting=10)
    assert relieve([pool], [reading, asking, elsewhere], NOW) == 0
    assert (reading.cause, asking.cause, elsewhere.cause, pool.patience) == (None, None, None, 0)


def test_one_that_has_not_been_sent_anywhere_yet_is_left_alone(endpoints):
    here = endpoints[0]
    flight = flight_to(here, NOW - 60)
    flight.exchange.attempts.clear()
    assert relieve([pool_of(here, 1)], [flight], NOW) == 0
