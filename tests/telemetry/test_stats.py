import json

import pytest

from meshd.telemetry.metrics import Distribution, Family, Kind
from meshd.telemetry.stats import stats

FAMILIES = [
    Family("a.count", Kind.COUNTER, "", "", points=(((("x", "y"),), 3),)),
    Family("a.level", Kind.GAUGE, "", "", points=(((), float("nan")),)),
    Family("b.time", Kind.HISTOGRAM, "s", "", distributions=(((), Distribution((4, *[0] * 14), 4, 0.01)),)),
]


def test_numbers_by_kind_and_name():
    assert stats(FAMILIES) == {
        "counters": {"a.count": [{"labels": {"x": "y"}, "value": 3}]},
        "gauges": {"a.level": [{"labels": {}, "value": None}]},
        "histograms": {
            "b.time": [
                {
                    "labels": {},
                    "count": 4,
                    "sum": 0.01,
                    "p50": 0.0025,
                    "p90": pytest.approx(0.0045),
                    "p99": pytest.approx(0.00495),
                }
            ]
        },
    }


def test_a_prefix_selects():
    assert stats(FAMILIES, "b.")["counters"] == {}
    assert list(stats(FAMILIES, "b.")["histograms"]) == ["b.time"]


def test_it_is_strict_json():
    json.dumps(stats(FAMILIES), allow_nan=False)
