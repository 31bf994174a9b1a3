"""A queue of lines never holds more than it may, and counts every line it refuses."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.telemetry.line_queue import LineQueue


@given(st.lists(st.binary(max_size=40), min_size=1), st.integers(1, 100), st.integers(1, 60))
def test_lines_come_out_in_order_whole_and_the_rest_is_counted(lines, bound, size):
    queue, kept = LineQueue(bound), []
    for line in lines:
        if queue.put(line):
            kept.append(line)
        assert queue.queued <= bound
    assert queue.dropped == len(lines) - len(kept)
    taken = []
    while batch := queue.take(size):
        assert len(batch) == 1 or sum(map(len, batch)) <= size
        taken += batch
    assert taken == kept
    assert queue.statistics() == {"waiting": 0, "queued_bytes": 0, "dropped": queue.dropped}
    assert repr(queue) == f"<LineQueue 0 waiting, {queue.dropped} dropped>"
