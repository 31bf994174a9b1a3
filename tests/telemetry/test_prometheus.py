import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.cells import BOUNDARIES
from meshd.telemetry.metrics import Distribution, Family, Kind
from meshd.telemetry.prometheus import exposed_name, number, render, wants_open_metrics

LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")


def parse(page):
    """Name, labels and value of every sample; fails on anything that is no exposition text."""
    found = []
    for line in page.split("\n")[:-1]:
        if line.startswith("# "):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        pairs = LABEL.findall(labels or "")
        assert sum(len(n) + len(v) + 3 for n, v in pairs) + max(0, len(pairs) - 1) == len(labels or "")
        unescaped = {n: re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), v) for n, v in pairs}
        found.append((name, unescaped, float(value)))
    return found


@pytest.mark.parametrize(
    ("name", "kind", "unit", "shown"),
    [
        ("http.server.request.duration", Kind.HISTOGRAM, "s", "http_server_request_duration_seconds"),
        ("meshd.exchanges", Kind.COUNTER, "", "meshd_exchanges_total"),
        ("meshd.exchange.sent", Kind.COUNTER, "By", "meshd_exchange_sent_bytes_total"),
        ("meshd.idle", Kind.GAUGE, "", "meshd_idle"),
        ("0odd name", Kind.GAUGE, "", "_0odd_name"),
        ("n_total", Kind.COUNTER, "", "n_total"),
        ("age_seconds", Kind.GAUGE, "s", "age_seconds"),
    ],
)
def test_names_are_openmetrics_names(name, kind, unit, shown):
    assert exposed_name(Family(name, kind, unit, "")) == shown


def test_a_counter_with_its_help_and_type():
    family = Family("meshd.exchanges", Kind.COUNTER, "", "One\nline \\ only", points=(((("http.route", "/a"),), 3),))
    assert render([family]) == (
        "# HELP meshd_exchanges_total One\\nline \\\\ only\n"
        "# TYPE meshd_exchanges_total counter\n"
        'meshd_exchanges_total{http_route="/a"} 3\n'
    )


def test_a_histogram_is_cumulative():
    buckets = (1, 2, *[0] * 12, 4)
    for labels, braces in (((), ""), ((("a", "b"),), 'a="b",')):
        family = Family("h", Kind.HISTOGRAM, "s", "", distributions=((labels, Distribution(buckets, 7, 1.5)),))
        page = render([family])
        assert f'h_seconds_bucket{{{braces}le="0.005"}} 1\nh_seconds_bucket{{{braces}le="0.01"}} 3\n' in page
        assert f'h_seconds_bucket{{{braces}le="10"}} 3\nh_seconds_bucket{{{braces}le="+Inf"}} 7\n' in page
        assert len(parse(page)) == len(BOUNDARIES) + 3
    assert 'h_seconds_sum{a="b"} 1.5\nh_seconds_count{a="b"} 7\n' in page


names = st.text(min_size=1, max_size=10)
labels = st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), st.text(max_size=20), max_size=4)


@given(names, labels, st.floats())
def test_any_label_value_comes_back_as_it_was(name, given_labels, value):
    family = Family(name, Kind.GAUGE, "", name, points=((tuple(given_labels.items()), value),))
    ((_shown, found, read),) = parse(render([family]))
    assert found == {key: each for key, each in given_labels.items() if each}
    assert read == value or math.isnan(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1"),
        (0.25, "0.25"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (1e300, "1e+300"),
    ],
)
def test_numbers(value, shown):
    assert number(value) == shown


def test_nothing_is_an_empty_page():
    assert render([]) == ""


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
        ("Application/OpenMetrics-Text", True),
        ("application/openmetrics-text; q=0, text/plain", False),
        ("application/openmetrics-text;q=0.0", False),
    ],
)
def test_open_metrics_is_for_who_asks_for_it(accept, wanted):
    assert wants_open_metrics(accept) is wanted


def test_open_metrics_names_counters_without_their_suffix_and_shows_an_example_once():
    exemplar = (0.02, 0xABC, 0xDEF, 1_700_000_000.5)
    buckets = (0, 0, 1, *[0] * (len(BOUNDARIES) - 2))
    page = render(
        [
            Family("meshd.exchanges", Kind.COUNTER, "{request}", 'All of "them".', points=(((("a", "b"),), 3),)),
            Family(
                "http.server.request.duration",
                Kind.HISTOGRAM,
                "s",
                "Durations.",
                distributions=(((), Distribution(buckets, 1, 0.02, exemplar)),),
            ),
        ],
        open_metrics=True,
    )
    assert page.startswith('# HELP meshd_exchanges All of \\"them\\".\n# TYPE meshd_exchanges counter\n')
    assert '\nmeshd_exchanges_total{a="b"} 3\n' in page
    (line,) = [line for line in page.splitlines() if "trace_id" in line]
    ids = f'trace_id="{0xABC:032x}",span_id="{0xDEF:016x}"'
    assert line == f'http_server_request_duration_seconds_bucket{{le="0.025"}} 1 # {{{ids}}} 0.02 1700000000.500'
    assert page.endswith("\n# EOF\n")


def test_the_older_format_has_neither_examples_nor_an_end():
    found = Distribution((1,), 1, 0.02, (0.02, 1, 2, 3.0))
    page = render([Family("d", Kind.HISTOGRAM, "s", "D.", distributions=(((), found),))])
    assert "trace_id" not in page
    assert "EOF" not in page
