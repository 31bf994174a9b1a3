import itertools
import threading

import pytest
from support.exchanges import make_exchange, make_record

from meshd.telemetry import export_queue
from meshd.telemetry.export_queue import BATCH, QUEUE, ExportQueue
from meshd.telemetry.metrics import Family, Kind

FAMILY = Family("n", Kind.COUNTER, "", "", points=(((), 1),))
RECORD = make_record()


class FakeCollector:
    """Takes what it is given, refuses, crashes, or holds on to it until let go."""

    def __init__(self):
        self.changed = threading.Condition()
        self.let_go = threading.Event()
        self.let_go.set()
        self.refuses = False
        self.crashes = False
        self.calls = 0
        self.spans = []
        self.families = []
        self.closed = False

    def send_spans(self, spans):
        return self._take(self.spans, spans)

    def send_metrics(self, families):
        return self._take(self.families, families)

    def _take(self, where, what):
        self.let_go.wait(10)
        with self.changed:
            self.calls += 1
            self.changed.notify_all()
            if self.crashes:
                raise ZeroDivisionError
            if not self.refuses:
                where.extend(what)
            return not self.refuses

    def wait_until(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, 60)

    def close(self):
        self.closed = True

    def __repr__(self):
        return "<FakeCollector>"


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(export_queue, "DELAY", 0.005)
    monkeypatch.setattr(export_queue, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(export_queue, "LONGEST_PAUSE", 0.02)


@pytest.fixture
def collector():
    return FakeCollector()


def make_queue(collector, interval=3600.0, families=(FAMILY,)):
    return ExportQueue(collector, lambda: list(families), interval)


def test_sampled_records_become_spans_before_the_batch_is_full(collector):
    queue = make_queue(collector)
    queue.offer([RECORD, make_record(sampling=0.0)])
    collector.wait_until(lambda: len(collector.spans) == 2)
    queue.shutdown(60)
    assert dict(queue.counters())[("meshd.telemetry.exported", ())] == queue.exported == 2
    assert collector.closed


def test_shutdown_sends_what_is_queued_and_the_last_metrics(collector):
    queue = make_queue(collector)
    queue.offer([RECORD] * (BATCH * 2 + 1))
    queue.shutdown(60)
    assert len(collector.spans) == 2 * (BATCH * 2 + 1)
    assert collector.families == [FAMILY]
    queue.offer([RECORD])
    assert queue.dropped == 1


def test_metrics_go_at_their_interval(collector):
    queue = make_queue(collector, interval=0.01)
    collector.wait_until(lambda: len(collector.families) >= 3)
    queue.shutdown(60)


def test_without_metrics_nothing_is_sent(collector):
    queue = make_queue(collector, families=())
    queue.shutdown(60)
    assert collector.calls == 0


def test_a_hanging_collector_holds_up_nobody_and_the_queue_is_bounded(collector):
    queue = make_queue(collector)
    collector.let_go.clear()
    queue.offer([RECORD] * BATCH)
    for _ in range(QUEUE // BATCH + 4):
        queue.offer([RECORD] * BATCH)
    assert queue.statistics()["queued"] <= QUEUE
    assert queue.dropped >= 3 * BATCH
    queue.shutdown(0.01)  # gives up in time
    collector.let_go.set()


def test_octets_are_bounded_too(collector, monkeypatch):
    monkeypatch.setattr(export_queue, "QUEUE_OCTETS", 300_000)
    queue = make_queue(collector)
    collector.let_go.clear()
    large = make_record(make_exchange(path=b"/" + b"x" * 60_000))
    queue.offer([large] * 20)
    assert queue.dropped >= 15
    collector.let_go.set()
    queue.shutdown(60)


def test_an_outage_is_told_of_once_and_ends(collector, caplog):
    queue = make_queue(collector)
    collector.refuses = True
    for failures in range(1, 5):
        queue.offer([RECORD])
        collector.wait_until(lambda wanted=failures: collector.calls >= wanted)
    collector.refuses = False
    queue.offer([RECORD])
    collector.wait_until(lambda: collector.spans)
    queue.shutdown(60)
    assert (queue.failures, queue.dropped) == (4, 4)
    assert len(caplog.records) == 2


def test_a_collector_that_is_away_does_not_use_up_the_drain_time(collector):
    queue = make_queue(collector)
    collector.refuses = True
    queue.offer([RECORD] * BATCH * 8)
    queue.shutdown(60)
    assert collector.calls < 8
    assert collector.families == []


def test_a_crash_is_a_failure_and_not_the_end(collector, caplog):
    queue = make_queue(collector)
    collector.crashes = True
    queue.offer([RECORD])
    collector.wait_until(lambda: collector.calls)
    collector.crashes = False
    queue.offer([RECORD])
    collector.wait_until(lambda: collector.spans)
    queue.shutdown(60)
    assert queue.failures == 1
    assert any(record.exc_info for record in caplog.records)


def test_a_flood_of_spans_does_not_take_a_whole_core(collector, monkeypatch):
    spent = itertools.count(0.0, 100.0)  # seconds of CPU, as the thread's clock shows them
    monkeypatch.setattr(export_queue.time, "thread_time", lambda: next(spent))
    queue = make_queue(collector)
    queue.offer([RECORD] * BATCH * 4)
    collector.wait_until(lambda: collector.spans)
    until = threading.Event()
    until.wait(0.05)  # ten times the delay after which a batch would leave
    assert queue.statistics()["queued"] == 3 * BATCH
    queue.shutdown(60)  # the end does not wait for rests
    assert queue.exported == 8 * BATCH


def test_a_queue_shows_what_it_holds(collector):
    queue = make_queue(collector)
    queue.shutdown(60)
    assert repr(queue) == "<ExportQueue 0 waiting, 0 exported, 0 dropped>"
