from hypothesis import given
from hypothesis import strategies as st

from meshd.core.cells import OVERFLOW, Cells, Histogram
from meshd.telemetry.metrics import Distribution, Kind, Metrics
from meshd.telemetry.records import Recorder
from meshd.telemetry.report import Report


class Worker:
    """One incarnation that reports to `metrics`."""

    def __init__(self, metrics, incarnation, place="worker 0"):
        self.cells = Cells()
        recorder = Recorder(self.cells, lambda _: True, 0.0, keep_all=False)
        self.report = Report(recorder, self.take, incarnation)
        self.metrics = metrics
        self.place = place
        self.last = []
        self.lost = False

    def take(self, payload):
        if self.lost:
            return True  # the channel took it, and it never came
        self.last.append(payload)
        self.metrics.merge(self.place, payload)
        return True


def value(metrics, name, labels=()):
    found = {family.name: family for family in metrics.collect()}
    return dict(found[name].points).get(labels) if name in found else None


def distribution(metrics, name, labels=()):
    return next(dict(family.distributions)[labels] for family in metrics.collect() if family.name == name)


# What happens to a place: amounts counted before a push, None for a restart.
histories = st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=30)


@given(histories, histories)
def test_totals_never_go_back_and_are_the_sum_over_all_incarnations(first, second):
    metrics = Metrics()
    seen = total = 0
    for place, history in (("worker 0", first), ("worker 1", second)):
        worker, incarnation = Worker(metrics, 1, place), 1
        for amount in history:
            if amount is None:
                incarnation += 1
                metrics.retire(place)
                worker = Worker(metrics, incarnation, place)
                continue
            worker.cells.add("n", amount=amount)
            for _ in range(amount % 4):
                worker.cells.histogram("h").observe(0.003)
            total += amount
            worker.report.push()
            now = value(metrics, "n") or 0
            assert now >= seen
            seen = now
    assert (value(metrics, "n") or 0) == total
    observed = sum(amount % 4 for amount in first + second if amount is not None)
    assert not observed or distribution(metrics, "h").buckets[0] == observed


def test_a_message_that_comes_twice_adds_nothing():
    metrics = Metrics()
    worker = Worker(metrics, 1)
    worker.cells.add("n", amount=5)
    worker.cells.histogram("h").observe(1)
    worker.report.push()
    for payload in worker.last * 3:
        metrics.merge("worker 0", payload)
    assert value(metrics, "n") == 5
    assert distribution(metrics, "h").count == 1


def test_a_message_that_is_lost_is_made_up_for_by_the_next_change():
    metrics = Metrics()
    worker = Worker(metrics, 1)
    worker.cells.add("n", amount=5)
    worker.lost = True
    worker.report.push()
    worker.lost = False
    worker.cells.add("n", amount=2)
    worker.report.push()
    assert value(metrics, "n") == 7


def test_a_worker_that_is_gone_leaves_its_counts_and_takes_its_gauges():
    metrics = Metrics()
    worker = Worker(metrics, 1)
    worker.cells.add("n")
    worker.cells.set("idle", 4)
    worker.report.push()
    metrics.retire("worker 0")
    metrics.retire("never seen")
    for payload in worker.last:
        metrics.merge("worker 0", payload)  # was still on the way
    metrics.retire("worker 0")
    assert (value(metrics, "n"), value(metrics, "idle")) == (1, None)


def test_gauges_add_up_unless_only_the_highest_counts():
    metrics = Metrics()
    for place, generation in (("worker 0", 3), ("worker 1", 4)):
        worker = Worker(metrics, 1, place)
        worker.cells.set("idle", 4)
        worker.cells.set("meshd.generation", generation)
        worker.report.push()
    assert (value(metrics, "idle"), value(metrics, "meshd.generation")) == (8, 4)


def test_past_the_cap_series_share_one():
    metrics = Metrics(cap=10)
    worker = Worker(metrics, 1)
    for number in range(100):
        worker.cells.add("n", (("x", str(number)),))
        worker.cells.set("g", 1, (("x", str(number)),))
        worker.cells.histogram("h", (("x", str(number)),)).observe(1)
    worker.report.push()
    worker.cells.add("n", (("x", "99"),))
    worker.report.push()
    found = {family.name: family for family in metrics.collect()}
    assert dict(found["n"].points)[OVERFLOW] == 91
    assert dict(found["g"].points)[OVERFLOW] == 90
    assert dict(found["h"].distributions)[OVERFLOW].count == 90
    assert all(len(family.points or family.distributions) == 11 for family in found.values())
    assert metrics.statistics() == {"counters": 11, "histograms": 11, "sources": 1, "cap": 10}


def test_the_controllers_own_numbers_are_there_too():
    metrics = Metrics()
    worker = Worker(metrics, 1)
    worker.cells.add("n")
    worker.cells.histogram("h").observe(1)
    worker.report.push()
    metrics.cells.add("n", amount=2)
    metrics.cells.set("ok", 1)
    metrics.cells.histogram("h").observe(2)
    metrics.watch(Kind.COUNTER, lambda: [(("lines", ()), 9)])
    metrics.watch(Kind.GAUGE, lambda: [(("ok", ()), 1)])
    assert [value(metrics, name) for name in ("n", "ok", "lines")] == [3, 2, 9]
    assert (distribution(metrics, "h").count, distribution(metrics, "h").sum) == (2, 3)
    assert [family.name for family in metrics.collect()] == ["h", "lines", "n", "ok"]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(values, q):
    histogram = Histogram()
    for each in values:
        histogram.observe(each)
    estimate = Distribution(tuple(histogram.buckets), histogram.count, histogram.sum).quantile(q)
    assert 0 <= estimate <= 10
    assert estimate <= max(10, *values)


def test_the_median_lies_where_it_should():
    histogram = Histogram()
    for _ in range(100):
        histogram.observe(0.2)
    found = Distribution(tuple(histogram.buckets), histogram.count, histogram.sum)
    assert abs(found.quantile(0.5) - 0.175) < 1e-9
    assert Distribution((0,) * 15, 0, 0.0).quantile(0.5) is None


def test_metrics_show_what_they_hold():
    assert repr(Metrics()) == "<Metrics 0 counters, 0 histograms, 0 workers>"
