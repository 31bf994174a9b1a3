"""What ends an exchange under way, and when."""

import pytest
import trio
from support.requests import exchange_of

from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight
from meshd.proxy.mirror import Nobody


def flight(**fields):
    made = Flight(exchange_of(), Nobody(b""))
    made.idle_timeout = 300.0
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_nothing_is_overdue_at_first():
    made = flight()
    made.sweep(299.0)
    assert made.cause is None


@pytest.mark.parametrize(
    ("fields", "at", "cause"),
    [
        ({"attempt_deadline": 5.0}, 5.1, Cut.ATTEMPT_TIMEOUT),
        ({"attempt_idle_timeout": 2.0}, 12.1, Cut.ATTEMPT_IDLE),
        ({}, 310.1, Cut.IDLE),
        ({"attempt_deadline": 5.0, "attempt_idle_timeout": 2.0}, 12.1, Cut.ATTEMPT_TIMEOUT),
    ],
)
def test_the_reason_is_the_one_that_came_first(fields, at, cause):
    made = flight(**fields)
    made.touch(10.0)
    made.sweep(min(at - 0.2, 4.9 if "attempt_deadline" in fields else at))
    assert made.cause is None
    made.sweep(at)
    assert made.cause is cause


def test_bytes_put_silence_off():
    made = flight(attempt_idle_timeout=2.0)
    for now in (1.0, 2.5, 4.0, 5.5):
        made.touch(now)
        made.sweep(now + 1.9)
        assert made.cause is None
    made.sweep(7.6)
    assert made.cause is Cut.ATTEMPT_IDLE


def test_the_whole_deadline_goes_before_that_of_an_attempt():
    made = flight(attempt_deadline=1.0)
    made.exchange.deadline = 1.0
    made.sweep(2.0)
    assert made.cause is Cut.TIMEOUT


async def test_a_rest_ends_with_its_time_or_with_the_exchange(autojump_clock):
    made = flight()
    began = trio.current_time()
    await made.rest(began + 5)
    assert trio.current_time() - began == pytest.approx(5)
    assert made.idle_deadline == began + 305
    made.cut(Cut.GONE)
    await made.rest(trio.current_time() + 5)
    assert trio.current_time() - began < 5.2
