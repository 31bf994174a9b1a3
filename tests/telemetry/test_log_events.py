"""One line of the access log as a log event."""

import json

import pytest
from support.conventions import wrong
from support.exchanges import CLOCK, make_call, make_denied, make_exchange, make_record

from meshd.telemetry.log_events import Severity, build_log_event


def test_the_body_is_the_line_and_the_attributes_are_the_spans():
    exchange = make_exchange()
    event = build_log_event(make_record(exchange))
    line = json.loads(event.body)
    assert (line["path"], line["response_code"]) == ("/orders/17", 200)
    assert event.attributes["url.path"] == "/orders/17"
    assert (event.trace_id, event.span_id) == (exchange.trace.trace_id, exchange.trace.span_id)
    assert abs(event.at - (CLOCK + 100.005)) < 1e-3


@pytest.mark.parametrize(
    ("status", "severity"),
    [(0, Severity.WARN), (200, Severity.INFO), (302, Severity.INFO), (404, Severity.WARN), (503, Severity.ERROR)],
)
def test_how_bad_it_is(status, severity):
    assert build_log_event(make_record(make_exchange(status=status))).severity is severity


@pytest.mark.parametrize("exchange", [make_exchange(sampling=0.0), make_denied(), make_call(status=14)], ids=repr)
def test_every_record_is_told_of_whether_or_not_its_trace_is_kept(exchange):
    event = build_log_event(make_record(exchange))
    assert event.sampled is exchange.trace.sampled
    assert not wrong(event.attributes)


def test_no_trace_is_no_ids():
    exchange = make_exchange()
    exchange.trace = None
    event = build_log_event(make_record(exchange))
    assert (event.trace_id, event.span_id, event.sampled) == (0, 0, False)


def test_secrets_of_a_query_are_in_neither_part():
    event = build_log_event(make_record(make_exchange(query=b"sig=s3cret")))
    assert "s3cret" not in event.body + str(event.attributes)
