"""Cells: exact sums, the standard buckets, and a bound on what labels can make of them."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from meshd.core.cells import BOUNDARIES, OVERFLOW, Cells, Histogram

NAMES = st.sampled_from(["requests", "bytes"])
LABELS = st.integers(0, 9).map(lambda number: (("peer", str(number)),))


@given(st.lists(st.sampled_from(BOUNDARIES) | st.floats(0, 100)))
def test_every_duration_is_in_the_bucket_whose_bound_it_does_not_exceed(durations):
    histogram = Histogram()
    for seconds in durations:
        histogram.observe(seconds)
    assert histogram.count == sum(histogram.buckets) == len(durations)
    assert histogram.sum == sum(durations)
    for number, bound in enumerate(BOUNDARIES):  # an upper bound belongs to its bucket, as OpenTelemetry has it
        assert sum(histogram.buckets[: number + 1]) == sum(seconds <= bound for seconds in durations)


@given(st.lists(st.tuples(NAMES, LABELS, st.integers(1, 9))), st.integers(0, 12))
def test_nothing_is_lost_however_few_label_sets_there_may_be(events, cap):
    cells, all_of, ordinary = Cells(cap), Counter(), Counter()
    for name, labels, amount in events:
        cells.add(name, labels, amount)
        all_of[name] += amount
        ordinary[name, labels] += amount
    assert len(cells.counters) <= cap + 2  # and one overflow for each name
    for name, total in all_of.items():
        assert sum(value for key, value in cells.counters.items() if key[0] == name) == total
    for key, value in cells.counters.items():
        assert key[1] == OVERFLOW or value == ordinary[key]  # a set that was admitted stays exact
    if len(ordinary) <= cap:
        assert cells.counters == ordinary


@given(st.lists(st.tuples(NAMES, LABELS)), st.integers(0, 12))
def test_histograms_are_bounded_and_the_same_one_is_kept(asked, cap):
    cells = Cells(cap)
    for name, labels in asked:
        found = cells.histogram(name, labels)
        found.observe(1.0)
        assert cells.histogram(name, labels) is found
    assert len(cells.histograms) <= cap + 2
    assert sum(histogram.count for histogram in cells.histograms.values()) == len(asked)


def test_a_gauge_is_its_last_value_and_bounded():
    cells = Cells(cap=1)
    cells.set("live", 3)
    cells.set("live", 2)
    assert cells.gauges == {("live", ()): 2}
    cells.set("live", 7, (("peer", "a"),))
    cells.set("live", 8, (("peer", "b"),))
    cells.set("live", 1)
    assert cells.gauges == {("live", ()): 1, ("live", OVERFLOW): 8}


def test_words_for_people():
    cells = Cells()
    cells.add("requests")
    cells.histogram("seconds").observe(0.25)
    assert repr(cells) == "<Cells 1 counters, 0 gauges, 1 histograms>"
    assert repr(cells.histogram("seconds")) == "<Histogram 1 observed, sum 0.250>"
