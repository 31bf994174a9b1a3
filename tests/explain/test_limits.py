"""Rate limits, replayed by the times of a log."""

from collections import Counter
from dataclasses import replace
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.logs import log_line
from support.replays import WEB, at_times, counted, limit
from support.worlds import STRANGER, allow, inbound, outbound, world_of

from meshd.explain.limits import Draw, Request, replay
from meshd.explain.replay import limits_of
from meshd.filters.buckets import OCTETS, Buckets, Rate
from meshd.filters.rate_limit import Limit

# -- limits -----------------------------------------------------------------------------------------------------------


def test_a_limit_that_is_new_begins_with_full_buckets():
    new = world_of(limit({"requests": 1, "per": "second", "burst": 2}))
    replay = counted(new, at_times(world_of(), 5.0, 5.1, 5.2, 6.3, 6.4))
    assert (replay.fates["same"], replay.fates["changed"]) == (3, 2)
    assert list(replay.changes) == [("inbound", "allowed", "limited by shop/f rule 0")]


def test_a_limit_that_was_there_may_have_begun_with_anything():
    world = world_of(limit({"requests": 1, "per": "second", "burst": 2}))
    lines = at_times(world, 5.0, 5.1, 5.2, 9.0, 9.1, 9.2)
    assert [line["response_flags"] for line in lines] == ["-", "-", "RL", "-", "-", "RL"]
    replay = counted(world, lines, None)
    assert (replay.fates["same"], replay.fates["cannot tell"]) == (3, 3)
    assert replay.untold == {"how full the bucket of shop/f rule 0 was": 3}


def test_lines_are_taken_in_the_order_of_time():
    new = world_of(limit({"requests": 1, "per": "hour"}))
    lines = at_times(world_of(), 5.0, 6.0, 7.0)
    first = counted(new, reversed(lines)).changes["inbound", "allowed", "limited by shop/f rule 0"]
    assert [each["start_time"] for each in first.examples] == [line["start_time"] for line in lines[1:]]


def test_of_requests_of_one_millisecond_any_may_be_the_one():
    new = world_of(limit({"requests": 1, "per": "hour"}))
    replay = counted(new, at_times(world_of(), 5.0, 5.0001, 6.0))
    assert (replay.fates["cannot tell"], replay.fates["changed"]) == (2, 1)


def test_each_caller_has_a_bucket_and_who_is_denied_draws_from_none():
    only_get = allow({"to": [{"operation": {"methods": ["GET"]}}]})
    new = world_of(only_get, limit({"requests": 1, "per": "hour", "key": "identity"}))
    old = world_of()
    asked = [inbound("PUT"), inbound(), inbound(caller=STRANGER), inbound()]
    lines = [log_line(old, question, at=5.0 + place) for place, question in enumerate(asked)]
    replay = counted(new, lines)
    assert [after for _, _, after in replay.changes] == [
        'denied, nearest shop/p rule 0: methods: ["GET"]',
        "limited by shop/f rule 0",
    ]
    assert replay.fates["same"] == 2


@pytest.mark.parametrize("rule", [{"key": "header:x-key"}, {"match": {"headers": [{"name": "x-key", "value": "1"}]}}])
def test_a_limit_on_a_header_that_no_log_keeps(rule):
    new = world_of(limit({"requests": 1, "per": "hour"} | rule))
    replay = counted(new, at_times(world_of(), 5.0, 6.0, 7.0))
    assert replay.fates["changed"] == 0
    assert replay.fates["cannot tell"] >= 2


def test_a_line_without_its_time():
    new = world_of(limit({"requests": 1, "per": "hour"}))
    [line] = at_times(world_of(), 5.0)
    assert counted(new, [line | {"start_time": "noon"}]).untold == {"when it came": 1}


def test_a_limit_of_a_service_that_is_called():
    new = world_of(*WEB, limit({"requests": 1, "per": "hour"}, targetRefs=[{"name": "web"}]))
    lines = at_times(world_of(*WEB), 5.0, 6.0, ask=outbound)
    assert list(counted(new, lines).changes) == [("outbound", "Service/shop/web", "limited by shop/f rule 0")]
    assert limits_of(new.snapshot.plans.values()) != frozenset()


# -- against the buckets that serve -----------------------------------------------------------------------------------

STEPS = [0, 0.0002, 0.001, 0.0015, 0.3, 0.5, 1, 2, 61]
schedules = st.lists(
    st.tuples(st.sampled_from(STEPS), st.sampled_from([(0,), (1,), (0, 1)]), st.booleans()), max_size=30
)
rates = st.tuples(st.sampled_from([0.2, 1.0, 20.0]), st.integers(1, 4))


def limit_of(number, interval, burst):
    rate = Rate(interval, burst)
    return Limit(f"rule {number}", f"owner {number}", None, None, number + 1, rate, b"", b"")


@given(st.tuples(rates, rates), schedules, st.integers(0, 6), st.booleans(), st.randoms())
def test_what_is_certain_is_what_the_buckets_do(given_rates, schedule, unlogged, is_new, random):
    """Real buckets, asked at real times; the replay sees times cut to milliseconds, out of order and without the first
    few, and some of the requests may not have come to the limits at all."""
    limits = [limit_of(number, *rate) for number, rate in enumerate(given_rates)]
    buckets, now, requests, truth = Buckets(bytearray(OCTETS)), 1000.0, [], []
    if is_new:
        unlogged = 0
    for place, (step, drawn, arrives) in enumerate(schedule):
        now += step
        passed = None
        if arrives:
            taken = []
            for number in drawn:
                if buckets.take(number + 1, limits[number].rate, now):
                    for other in taken:
                        buckets.give_back(other + 1, limits[other].rate, now)
                    taken = None
                    break
                taken.append(number)
            passed = taken is not None
        if place >= unlogged:
            draws = tuple(Draw(limits[number], (limits[number].owner, b""), certain=True) for number in drawn)
            requests.append(Request(floor(now * 1000) / 1000, draws, arrives, len(truth)))
            truth.append(passed)
    random.shuffle(requests)
    for place, (passes, _) in replay(requests, since=frozenset() if is_new else None, workers=1):
        assert passes is None or truth[place] is None or passes == truth[place]


def test_a_flood_is_told_although_its_milliseconds_are_crowded():
    """Which of a millisecond's requests found room nobody can tell, but how many did is known."""
    draw = Draw(limit_of(0, 0.01, 5), ("owner 0", b""), certain=True)
    requests = [Request(1000 + place / 2000, (draw,), True, place) for place in range(2000)]
    requests = [replace(each, at=floor(each.at * 1000) / 1000) for each in requests]
    found = Counter(passes for _, (passes, _) in replay(requests, since=frozenset(), workers=1))
    assert found[False] > 1300
    assert 50 < found[True] + found[None] < 700


def test_workers_may_not_know_what_others_have_taken():
    draw = Draw(limit_of(0, 1.0, 1), ("owner 0", b""), certain=True)
    for apart, one, many in ((0.002, [True, False], [None, None]), (0.02, [True, False], [True, False])):
        requests = [Request(1000.0, (draw,), True, 0), Request(1000.0 + apart, (draw,), True, 1)]
        for workers, wanted in ((1, one), (2, many)):
            found = [passes for _, (passes, _) in replay(requests, since=frozenset(), workers=workers)]
            assert found == wanted


def test_a_token_that_an_earlier_request_may_have_taken_is_not_laid_to_a_later_one():
    """The bucket was said to be fuller later than it was, and the last request to be limited, which it was not."""
    world = world_of(
        limit({"requests": 1, "per": "second"}, {"requests": 1, "per": "second", "match": {"method": "GET"}})
    )
    asked = [(inbound(), 1.0), (inbound(), 1.0), (inbound(), 2.0), (inbound("PUT"), 2.5), (inbound(), 3.0)]
    lines = [log_line(world, question, at=at) for question, at in asked]
    assert [line["response_flags"] for line in lines] == ["-", "RL", "-", "RL", "-"]
    assert counted(world, lines, None).changes == {}
