import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.head import RequestHead
from meshd.core.trace import TraceContext
from meshd.telemetry.tracing import (
    MASK_56,
    Sampler,
    attempt_span_id,
    bound_state,
    format_traceparent,
    hang_under,
    parse_traceparent,
    start_trace,
)

TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
VALID = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NEVER, ALWAYS = Sampler(0.0), Sampler(1.0)

trace_ids = st.integers(1, 2**128 - 1)
span_ids = st.integers(1, 2**64 - 1)


def start(*fields, sampler=NEVER, seed=1):
    return start_trace(RequestHead(b"GET", b"/", b"a", list(fields)), sampler, random.Random(seed))


@given(trace_ids, span_ids, st.booleans())
def test_what_is_formatted_is_parsed(trace_id, span_id, sampled):
    assert parse_traceparent(format_traceparent(trace_id, span_id, sampled=sampled)) == (trace_id, span_id, sampled)


@given(st.binary(max_size=80))
def test_garbage_is_no_parent(value):
    assert parse_traceparent(value) is None


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255))
def test_one_changed_octet_is_read_as_written_or_refused(place, octet):
    changed = VALID[:place] + bytes([octet]) + VALID[place + 1 :]
    found = parse_traceparent(changed)
    if found is not None:
        trace_id, span_id, _sampled = found
        assert changed[3:52] == b"%032x-%016x" % (trace_id, span_id)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        VALID.upper(),
        b"ff" + VALID[2:],
        VALID + b"-00",
        VALID + b" ",
        VALID[:-1],
        b"00-" + b"0" * 32 + VALID[35:],
        VALID[:36] + b"0" * 16 + VALID[52:],
        VALID.replace(b"-", b"_"),
        b"00-0af7651916cd43dd8448eb211c8031_c-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd-8448eb211c80319cb7ad6b716920-331-01",
        b"01" + VALID[2:] + b"more",
    ],
)
def test_what_is_not_valid_is_refused(value):
    assert parse_traceparent(value) is None


@pytest.mark.parametrize("more", [b"", b"-", b"-what-the-future-holds"])
def test_a_later_version_is_read_as_far_as_ours_goes(more):
    assert parse_traceparent(b"cc" + VALID[2:] + more) == (TRACE, PARENT, True)


@pytest.mark.parametrize(("flags", "sampled"), [(b"00", False), (b"01", True), (b"02", False), (b"ff", True)])
def test_only_the_lowest_flag_says_sampled(flags, sampled):
    assert parse_traceparent(VALID[:-2] + flags) == (TRACE, PARENT, sampled)


def test_the_callers_trace_goes_on_and_its_decision_stands():
    trace = start((b"traceparent", VALID), (b"tracestate", b"a=1"), (b"tracestate", b"b=2"))
    assert (trace.trace_id, trace.parent_id, trace.sampled, trace.state) == (TRACE, PARENT, True, b"a=1,b=2")
    assert trace.span_id not in {0, PARENT}
    assert not start((b"traceparent", VALID[:-1] + b"0"), sampler=ALWAYS).sampled


def test_two_parents_are_none_and_the_state_goes_with_them():
    trace = start((b"traceparent", VALID), (b"traceparent", VALID), (b"tracestate", b"a=1"))
    assert trace.trace_id != TRACE
    assert (trace.parent_id, trace.state) == (0, b"")


def test_state_goes_on_as_it_came_bounded_or_not_at_all():
    two, long = [(b"tracestate", b"a=1"), (b"tracestate", b"b=2")], (b"tracestate", b"x=" + b"y" * 600)
    for fields, passed_on in (
        ([(b"traceparent", VALID), *two], two),
        ([(b"traceparent", VALID), *two, long], [(b"tracestate", b"a=1,b=2")]),
        ([(b"traceparent", VALID), long], []),
        ([(b"traceparent", b"broken"), *two], []),
        (two, []),
    ):
        head = RequestHead(b"GET", b"/", b"a", list(fields))
        head.get(b"tracestate")
        start_trace(head, NEVER, random.Random(1))
        assert [field for field in head.headers if field[0] == b"tracestate"] == passed_on
        assert head.get(b"tracestate") == (b",".join(value for _, value in passed_on) or None)


def test_without_a_parent_a_trace_starts_here():
    trace = start(sampler=ALWAYS)
    assert trace.trace_id
    assert trace.span_id
    assert trace.parent_id == 0
    assert trace.sampled
    assert not start(sampler=NEVER).sampled


B3 = b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "sampled"),
    [(B3 + b"-1", True), (B3 + b"-d", True), (B3 + b"-0", False), (B3, True), (B3 + b"-1-05e3ac9a4f6e3b90", True)],
)
def test_b3_is_read_when_there_is_no_traceparent(value, sampled):
    trace = start((b"b3", value), sampler=ALWAYS)
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE, PARENT, sampled)


def test_b3_may_have_a_short_trace_id():
    assert start((b"b3", b"8448eb211c80319c-b7ad6b7169203331-1")).trace_id == 0x8448EB211C80319C


@pytest.mark.parametrize(("value", "sampled"), [(b"0", False), (b"1", True), (b"d", True)])
def test_b3_may_be_a_decision_alone(value, sampled):
    trace = start((b"b3", value), sampler=Sampler(0.5))
    assert (trace.parent_id, trace.sampled) == (0, sampled)


@pytest.mark.parametrize("value", [b"", b"2", B3 + b"-x", b"0" * 32 + B3[32:] + b"-1", b"zz", B3 + b"-1-1"])
def test_a_broken_b3_is_no_header(value):
    assert start((b"b3", value), sampler=ALWAYS).parent_id == 0


def test_traceparent_wins_over_b3():
    assert start((b"b3", b"8448eb211c80319c-b7ad6b7169203331-1"), (b"traceparent", VALID)).trace_id == TRACE


@given(st.floats(0, 1), trace_ids, st.integers(0, 2**72 - 1))
def test_siblings_agree_and_only_the_low_56_bits_decide(ratio, trace_id, high):
    other = (trace_id & MASK_56) | high << 56
    assert Sampler(ratio).sample(trace_id) == Sampler(ratio).sample(other)


@given(trace_ids, st.floats(0, 1), st.floats(0, 1))
def test_what_a_low_ratio_keeps_a_higher_one_keeps_too(trace_id, one, two):
    low, high = sorted((one, two))
    assert Sampler(high).sample(trace_id) or not Sampler(low).sample(trace_id)


def test_the_ratio_is_kept():
    source, sampler = random.Random(7), Sampler(0.25)
    kept = sum(sampler.sample(source.getrandbits(128)) for _ in range(4000))
    assert 900 < kept < 1100


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_is_from_zero_to_one(ratio):
    with pytest.raises(ValueError, match="sampling: got"):
        Sampler(ratio)


@given(st.lists(st.binary(min_size=1, max_size=200).map(lambda value: value.replace(b",", b".")), max_size=40))
def test_state_is_bounded_and_loses_whole_members_only(members):
    state = bound_state(b",".join(members))
    assert len(state) <= 512
    assert not state or set(state.split(b",")) <= set(members)


def test_long_members_go_first():
    long = b"long=" + b"x" * 200
    members = [b"k%d=" % n + b"v" * 100 for n in range(4)]
    assert bound_state(b",".join([long, *members])) == b",".join(members)


@given(span_ids)
def test_attempts_have_ids_of_their_own(span_id):
    found = {attempt_span_id(span_id, number) for number in range(1, 10)}
    assert len(found) == 9
    assert 0 not in found
    assert span_id not in found
    assert all(each < 2**64 for each in found)


def test_a_sampler_shows_its_ratio():
    assert repr(Sampler(0.25)) == "<Sampler 0.25>"


@given(trace_ids, span_ids, st.booleans(), st.integers(2, 12))
def test_a_head_that_goes_out_again_names_the_span_of_that_attempt(trace_id, span_id, sampled, number):
    trace = TraceContext(trace_id, span_id, sampled=sampled)
    head = RequestHead(b"GET", b"/", b"a", [(b"x-a", b"1"), (b"traceparent", VALID), (b"x-b", b"2")])
    assert head.get(b"traceparent") == VALID  # looked up before, as filters do
    hang_under(head, trace, number)
    assert [name for name, _ in head.headers] == [b"x-a", b"traceparent", b"x-b"]
    found = parse_traceparent(head.get(b"traceparent"))
    assert found == (trace_id, attempt_span_id(span_id, number), sampled)


def test_a_head_without_a_traceparent_gets_none():
    head = RequestHead(b"GET", b"/", b"a", [(b"x-a", b"1")])
    hang_under(head, TraceContext(TRACE, PARENT), 2)
    assert head.headers == [(b"x-a", b"1")]
