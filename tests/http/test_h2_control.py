"""What a peer says of the connection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http2 import LIBRARIES, SETTINGS_ACK, client, frames, server, settings

from meshd.http.h2_events import Code, GoneAway, SettingsChanged, WindowOpened
from meshd.http.h2_frames import Kind, frame

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)


@libraries
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=5))
def test_settings_are_acknowledged_one_by_one_and_the_last_counts(library, limits):
    session = client(library)
    events = session.receive(b"".join(settings(streams=limit) for limit in limits), 0.0)
    assert [event.streams for event in events if isinstance(event, SettingsChanged)] == limits
    assert sum(isinstance(event, WindowOpened) for event in events) == len(limits)
    assert frames(session.data_to_send()) == frames(SETTINGS_ACK) * len(limits)
    assert session.room == min(100, limits[-1])


@libraries
@given(lasts=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5), details=st.binary(max_size=200))
def test_a_goaway_is_told_with_its_reason_and_never_takes_back_a_promise(library, lasts, details):
    session = client(library)
    payloads = [last.to_bytes(4, "big") + (99).to_bytes(4, "big") + details for last in lasts]
    events = session.receive(b"".join(frame(Kind.GOAWAY, 0, 0, payload) for payload in payloads), 0.0)
    assert [event.last for event in events] == [min(lasts[: count + 1]) for count in range(len(lasts))]
    assert all(isinstance(event, GoneAway) and event.code == 99 for event in events)
    assert all(event.details == details[:128].decode("ascii", "replace") for event in events)


@libraries
def test_a_clients_goaway_leaves_its_requests_alone(library):
    session = server(library)
    [event] = session.receive(frame(Kind.GOAWAY, 0, 0, bytes(8)), 0.0)
    assert isinstance(event, GoneAway)
    assert session.closed is None


@libraries
def test_acknowledgements_nobody_waits_for_are_ignored_for_a_while(library):
    session = server(library)
    session.receive(SETTINGS_ACK * 2000, 0.0)
    assert session.closed is None
    session.receive(SETTINGS_ACK * 2, 0.0)
    assert (session.closed.code, session.closed.counter) == (Code.ENHANCE_YOUR_CALM, "glitches")
