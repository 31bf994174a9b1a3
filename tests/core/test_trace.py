"""Where spans hang: not recorded and without a parent unless told."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.core.trace import TraceContext


def test_a_trace_that_begins_here():
    trace = TraceContext(5, 6)
    assert (trace.trace_id, trace.span_id, trace.parent_id, trace.sampled, trace.state) == (5, 6, 0, False, b"")


@given(st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1), st.booleans())
def test_words_for_people_are_those_of_the_traceparent_field(trace_id, span_id, sampled):
    word, trace, span, *said = repr(TraceContext(trace_id, span_id, parent_id=1, sampled=sampled))[1:-1].split()
    assert word == "TraceContext"
    assert (len(trace), int(trace, 16)) == (32, trace_id)
    assert (len(span), int(span, 16)) == (16, span_id)
    assert said == (["sampled"] if sampled else ["not", "sampled"])
