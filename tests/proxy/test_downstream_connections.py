"""Who gives way when there are too many connections: strangers who say nothing, then the idle, never who is served."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.proxy.downstream_connections import (
    BLOCKED,
    LOOK_AGAIN,
    Bounds,
    ClientConnection,
    DownstreamConnections,
    State,
    giving_way,
)

NOW = 100.0


class Served:
    def __init__(self, *standing):
        self.at = standing or None
        self.ended = False

    def standing(self):
        return self.at

    def give_way(self):
        self.ended = True


def client(state=State.NEW, since=0.0, address="10.0.0.1"):
    """A connection, and whether it was closed as `closed`."""
    closed = []
    made = ClientConnection(address, "inbound-0", since, lambda: closed.append(1))
    if state is not State.NEW:
        made.served = Served(state, since)
    made_closed[made] = closed
    return made


made_closed = {}


def is_closed(connection):
    return bool(made_closed[connection]) or (connection.served is not None and connection.served.ended)


def crowd(*connections, limit=None):
    found = DownstreamConnections(limit or len(connections))
    for each in connections:
        assert found.enter(each, NOW)
    return found


def test_new_before_idle_before_blocked_and_never_who_is_served():
    busy, blocked, idle, new = (client(state) for state in (State.BUSY, State.BLOCKED, State.IDLE, State.NEW))
    full = crowd(busy, blocked, idle, new)
    gone = []
    for _ in range(3):
        late = client(State.BUSY, NOW)
        assert full.enter(late, NOW)
        gone.append([each for each in (new, idle, blocked, busy) if is_closed(each)][-1])
    assert gone == [new, idle, blocked]
    assert not full.enter(client(State.BUSY), NOW)
    assert not is_closed(busy)
    assert full.statistics() == {"open": 4, "handshakes": 0, "limit": 4, "shed": 3}


def test_who_is_idle_longest_gives_way():
    old, young = client(State.IDLE, 1.0), client(State.IDLE, 2.0)
    full = crowd(young, old)
    full.enter(client(State.BUSY), NOW)
    assert (is_closed(old), is_closed(young)) == (True, False)


def test_of_those_that_are_new_the_oldest_of_the_largest_crowd_gives_way():
    lone = client(since=0.0, address="192.0.2.1")
    many = [client(since=1.0 + number, address=f"10.0.0.{number}") for number in range(5)]
    assert giving_way([lone, *many], NOW, 2) == many[:2]


def test_a_client_that_has_only_just_stopped_reading_does_not_give_way():
    assert giving_way([client(State.BLOCKED, NOW - BLOCKED / 2)], NOW, 1) == []


def test_when_everybody_is_served_nobody_looks_again_for_a_moment():
    looks = []

    class Counting(Served):
        def standing(self):
            looks.append(1)
            return super().standing()

    busy = client()
    busy.served = Counting(State.BUSY, 0.0)
    full = crowd(busy)
    for _ in range(100):
        assert not full.enter(client(), NOW)
    assert len(looks) == 1
    busy.served.at = (State.IDLE, 0.0)
    assert full.enter(client(), NOW + LOOK_AGAIN)


def test_who_was_found_idle_and_is_served_by_now_stays():
    first, second = client(State.IDLE, 1.0), client(State.IDLE, 2.0)
    full = crowd(first, second)
    assert full.enter(client(State.BUSY), NOW)
    second.served.at = (State.BUSY, NOW)
    assert not full.enter(client(), NOW)
    assert not is_closed(second)


def test_those_that_are_new_have_half_of_all_places():
    full = DownstreamConnections(100)
    for number in range(90):
        full.enter(client(since=float(number)), NOW)
    full.limit_new(NOW)
    assert len(full) == Bounds.of(100).new == 50


def test_too_many_handshakes_end_the_oldest():
    full = DownstreamConnections(48)
    shaking = [client(since=float(number)) for number in range(9)]
    for each in shaking:
        full.enter(each, NOW)
        full.shake(each)
    assert [is_closed(each) for each in shaking] == [True] + [False] * 8
    assert full.shaking == 8
    for each in shaking:
        full.shaken(each)
        full.leave(each)
    assert repr(full) == "<DownstreamConnections 0 of 48>"
    assert full.shaking == 0


@given(
    st.lists(st.tuples(st.sampled_from(list(State)), st.floats(0, 100), st.integers(0, 5)), min_size=1, max_size=60),
    st.integers(1, 60),
)
def test_there_are_never_more_than_there_may_be_and_nobody_served_is_cut(arrivals, limit):
    full, ended = DownstreamConnections(limit), []
    inside = []
    for state, since, network in arrivals:
        each = client(state, since, f"10.0.{network}.1")
        if full.enter(each, NOW):
            inside.append(each)
        assert len(full) <= limit
    ended = [each for each in inside if is_closed(each)]
    assert len(inside) - len(ended) == len(full)
    assert not any(each.standing()[0] is State.BUSY for each in ended)
