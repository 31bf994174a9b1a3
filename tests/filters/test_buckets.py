"""Token buckets: the moment that stands for a bucket, and the table that never grows."""

import mmap
import os
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.filters.buckets import OCTETS, SETS, WAYS, Buckets, Rate, bucket_key, octets

KEY = bucket_key("rule", b"")
HOURLY = Rate(3600.0, 200)


def table(sets=1):
    return Buckets(bytearray(octets(1, sets)), sets=sets)


class Naive:
    """A bucket as people tell of it: a number of tokens that grows."""

    def __init__(self, rate, burst):
        self.rate, self.burst, self.tokens, self.last = rate, burst, float(burst), 0.0

    def take(self, now):
        self.tokens = min(self.burst, self.tokens + (now - self.last) * self.rate)
        self.last = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


# Eighths of a second and powers of two are exact, so both sides must agree to the last request.
STEPS = st.lists(st.integers(0, 40).map(lambda eighths: eighths / 8), max_size=60)


@given(STEPS, st.sampled_from([0.125, 0.5, 1, 2, 8]), st.integers(1, 12), st.sampled_from([0.0, 1e5, 3e6]))
def test_a_moment_says_what_a_count_of_tokens_says(steps, rate, burst, begin):
    buckets, naive, now = table(), Naive(rate, burst), 0.0
    for step in steps:
        now += step
        shortage = buckets.take(KEY, Rate(1 / rate, burst), begin + now)
        assert (shortage <= 0) is naive.take(now)
        if shortage:
            assert shortage == pytest.approx((1 - naive.tokens) / rate, abs=2e-6)


@given(
    st.lists(st.floats(0, 3), max_size=80),
    st.integers(1, 1000),
    st.sampled_from([1, 60, 3600]),
    st.integers(1, 50),
    st.floats(0, 1e7),
)
def test_never_more_than_the_burst_and_what_grew(steps, requests, per, burst, begin):
    buckets, rate, now, grants = table(), Rate(per / requests, burst), begin, []
    for step in steps:
        now += step
        if not buckets.take(KEY, rate, now):
            grants.append(now)
    for first, start in enumerate(grants):
        for last in range(first, len(grants)):
            assert last - first + 1 <= burst + (grants[last] - start) / rate.interval + 0.01


@pytest.mark.parametrize(("burst", "interval"), [(1, 1.0), (10, 0.1), (1000, 1 / 3), (1000, 1e-4)])
def test_a_full_bucket_holds_its_burst_to_the_last(burst, interval):
    buckets, rate = table(), Rate(interval, burst)
    assert [buckets.take(KEY, rate, 12345.678) for _ in range(burst)] == [0.0] * burst
    assert buckets.take(KEY, rate, 12345.678) > 0


def test_who_waits_as_long_as_told_has_room():
    buckets, rate = table(), Rate(1 / 3, 1)
    assert not buckets.take(KEY, rate, 100.0)
    shortage = buckets.take(KEY, rate, 100.1)
    assert shortage > 0
    assert not buckets.take(KEY, rate, 100.1 + shortage)


def test_what_is_given_back_can_be_taken():
    buckets, rate = table(), Rate(1.0, 2)
    assert not buckets.take(KEY, rate, 0.0)
    assert not buckets.take(KEY, rate, 0.0)
    buckets.give_back(KEY, rate, 0.0)
    assert not buckets.take(KEY, rate, 0.0)
    assert buckets.take(KEY, rate, 0.0) > 0


def test_each_key_has_its_own():
    buckets, rate = Buckets(bytearray(OCTETS)), Rate(1.0, 1)
    keys = [bucket_key("rule", b"%d" % number) for number in range(200)]
    assert [buckets.take(key, rate, 1.0) for key in keys] == [0.0] * 200
    assert all(buckets.take(key, rate, 1.0) > 0 for key in keys)
    assert repr(buckets) == f"<Buckets 200 of {SETS * WAYS}>"


@given(st.sets(st.integers(1, 2**62), min_size=WAYS, max_size=100))
def test_ever_new_keys_do_not_displace_who_owes_more(strangers):
    buckets, rate = table(), Rate(1.0, 5)
    for _ in range(5):
        assert not buckets.take(-7, rate, 0.0)
    for stranger in strangers:
        assert not buckets.take(stranger, rate, 0.0)
    assert buckets.take(-7, rate, 0.0) > 0


def test_the_table_never_grows():
    memory = bytearray(octets(3, 2))
    buckets, rate = Buckets(memory, 3, sets=2), Rate(1.0, 1)
    for number in range(10_000):
        buckets.take(bucket_key("rule", b"%d" % number), rate, number / 10)
    assert len(memory) == octets(3, 2)
    assert repr(buckets) == f"<Buckets {2 * WAYS} of {2 * WAYS}>"


def in_processes(*bodies):
    """What each of these gives, as small whole numbers, run at the same time in processes of their own."""
    pids = []
    for body in bodies:
        pids.append(os.fork())
        if not pids[-1]:
            os._exit(body())
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def test_processes_that_share_the_memory_share_the_buckets():
    buckets, rate, key = Buckets(mmap.mmap(-1, octets(2)), 2), Rate(1.0, 5), bucket_key("rule", b"a")
    assert not buckets.take(key, rate, 9.0)
    other = buckets.of(1)
    assert in_processes(lambda: sum(not other.take(key, rate, 9.0) for _ in range(20))) == [4]
    assert buckets.take(key, rate, 9.0) > 0
    assert not buckets.take(bucket_key("rule", b"b"), rate, 9.0)


def hurry(buckets):
    """How many of as many as fit are granted."""
    return sum(not buckets.take(KEY, HOURLY, 1.0) for _ in range(HOURLY.burst))


@pytest.mark.slow
def test_no_taking_is_lost_however_two_processes_hurry():
    """As many as can at the same time: all that is over is one token that both saw last."""
    for _ in range(20):
        shared = Buckets(mmap.mmap(-1, octets(2)), 2)
        assert not shared.take(KEY, HOURLY, 1.0)
        grants = in_processes(partial(hurry, shared.of(0)), partial(hurry, shared.of(1)))
        assert HOURLY.burst <= 1 + sum(grants) <= HOURLY.burst + 1


@given(STEPS, st.lists(st.integers(0, 2), min_size=60, max_size=60), st.sampled_from([0.125, 1, 8]), st.integers(1, 12))
def test_which_worker_takes_makes_no_difference(steps, turns, rate, burst):
    together, alone, now = Buckets(bytearray(octets(3, 1)), 3, sets=1), table(), 0.0
    workers = [together.of(worker) for worker in range(3)]
    for step, turn in zip(steps, turns, strict=False):
        now += step
        limit = Rate(1 / rate, burst)
        assert workers[turn].take(KEY, limit, now) == alone.take(KEY, limit, now)
