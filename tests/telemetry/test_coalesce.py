"""Lines that are alike are written a few times and then counted; memory is bounded whoever calls."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.telemetry.coalesce import BURST, CALLERS, KEYS, PEER_KEYS, WINDOW, Coalescer

REFUSED = "%s refused a connection: %s"


def offer(coalescer, key, now, count=1, text="line"):
    """How many of `count` lines were written."""
    written = 0
    for _ in range(count):
        if coalescer.admit(key, now):
            written += 1
        else:
            coalescer.hold(key, 30, text)
    return written


def test_a_few_are_written_and_the_others_are_said_in_one_line():
    lines = Coalescer()
    assert offer(lines, (REFUSED, ""), 0.0, BURST + 312, "inbound-0 refused a connection: expired") == BURST
    assert lines.due(WINDOW - 0.1) == []
    (summary,) = lines.due(WINDOW)
    assert str(summary) == "inbound-0 refused a connection: expired … 312 more like this in 10 s"
    assert (lines.coalesced, lines.due(2 * WINDOW), lines.deadline) == (312, [], float("inf"))


def test_a_window_that_is_over_begins_anew():
    lines = Coalescer()
    assert offer(lines, (REFUSED, ""), 0.0, BURST) == BURST
    assert offer(lines, (REFUSED, ""), WINDOW, BURST + 1) == BURST
    assert lines.deadline == 2 * WINDOW


def test_what_is_held_is_said_before_another_window_begins():
    lines = Coalescer()
    offer(lines, (REFUSED, ""), 0.0, BURST + 1)
    assert offer(lines, (REFUSED, ""), WINDOW + 1) == 0
    assert [summary.count for summary in lines.due(WINDOW + 1)] == [2]
    assert offer(lines, (REFUSED, ""), WINDOW + 1) == 1


def test_one_peer_does_not_hide_another():
    lines = Coalescer()
    offer(lines, (REFUSED, "10.0.0.0/24"), 0.0, 1000)
    assert offer(lines, (REFUSED, "10.0.1.0/24"), 0.0) == 1


def test_many_of_one_network_that_are_refused_are_each_named_once():
    """Pods of one node share a network; a certificate that expired is every one's of a deployment."""
    lines = Coalescer()
    pods = [f"10.0.0.{number}, as spiffe://mesh.test/ns/a/sa/{number}" for number in range(CALLERS + 100)]
    key = (REFUSED, "10.0.0.0/24 expired")
    first = [who for who in pods if lines.admit(key, 0.0, BURST, who)]
    assert first == pods[:CALLERS]
    assert not any(lines.admit(key, 1.0, BURST, who) for who in pods)
    assert lines.admit(key, WINDOW, BURST, pods[-1])


def test_the_end_says_everything():
    lines = Coalescer()
    offer(lines, ("a", ""), 0.0, BURST + 2)
    offer(lines, ("b", ""), 0.0)
    assert [summary.count for summary in lines.due(1.0, force=True)] == [2]
    assert lines.statistics() == {"kinds": 0, "coalesced": 2}


def test_a_crowd_of_peers_leaves_room_for_the_lines_of_others():
    lines = Coalescer()
    for number in range(10_000):
        offer(lines, (REFUSED, str(number)), 0.0)
    assert offer(lines, ("the certificate expires", ""), 0.0) == 1
    assert lines.statistics()["kinds"] <= PEER_KEYS + 2


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 600), st.floats(0, 5)), min_size=1, max_size=300))
def test_no_line_is_lost_uncounted_and_memory_is_bounded(offers):
    lines, now, written, said = Coalescer(), 0.0, 0, 0
    for template, peer, pause in offers:
        now += pause
        said += sum(summary.count for summary in lines.due(now))
        written += offer(lines, (f"t{template % 7 if peer else template}", str(peer or "")), now)
        assert lines.statistics()["kinds"] <= KEYS + 1
    said += sum(summary.count for summary in lines.due(now, force=True))
    assert written + said == len(offers)
