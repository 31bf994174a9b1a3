"""Windows of streams that grow with what is read of them, and what all of them may grow by."""

import pytest
from support.http2 import LIBRARIES, OPENING, POST, data, frames, headers

from meshd.http.h2_frames import Kind, reset_frame
from meshd.http.h2_server import ServerSession
from meshd.http.h2_windows import ALLOWANCE, DEFAULT, GROWTH, MOST, WORTH

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)


def upload(session, stream, octets, now, step):
    """Send as much as the window lets us, each time all of it, read at once; what the window has grown by."""
    window = DEFAULT
    while octets > 0:
        now += step
        size = min(window, octets)
        pieces = [bytes(min(16384, size - at)) for at in range(0, size, 16384)]
        for piece in pieces:
            session.receive(data(stream, piece), now)
        session.acknowledge(stream, size)
        said = frames(session.data_to_send())
        given = [payload for kind, _, number, payload in said if kind == Kind.WINDOW_UPDATE and number == stream]
        window += sum(int.from_bytes(payload, "big") for payload in given) - size
        octets -= size
    return session._streams[stream].inbound.grown


def server(library):
    session = ServerSession(library=library)
    session.receive(OPENING, 0.0)
    return session


@libraries
def test_a_fast_reader_gets_a_window_that_fills_the_way(library):
    session, before = server(library), ALLOWANCE.left
    session.receive(headers(1, POST), 100.0)
    grown = upload(session, 1, 40 * MOST, 100.0, 0.01)
    assert MOST - WORTH < DEFAULT + grown <= MOST
    assert before - ALLOWANCE.left == grown
    session.receive(data(1, b"", end=True), 110.0)
    session.reset(1)
    assert ALLOWANCE.left == before


@libraries
def test_a_slow_reader_keeps_the_window_that_was_offered(library):
    session, before = server(library), ALLOWANCE.left
    session.receive(headers(1, POST), 100.0)
    assert upload(session, 1, 3 * MOST, 100.0, 1.0) == 0
    assert ALLOWANCE.left == before


@libraries
@pytest.mark.parametrize("end", ["reset by the peer", "lost"])
def test_the_streams_of_a_connection_grow_by_no_more_than_there_is(library, end):
    session, before = server(library), ALLOWANCE.left
    total = 0
    for stream in range(1, 21, 2):
        session.receive(headers(stream, POST), 100.0)
        total += upload(session, stream, 20 * MOST, 100.0, 0.01)
    assert GROWTH - WORTH < total <= GROWTH
    assert before - ALLOWANCE.left == total
    if end == "lost":
        session.release()
        assert ALLOWANCE.left == before
    for stream in range(1, 21, 2):
        session.receive(reset_frame(stream, 8), 101.0 + stream)
    assert ALLOWANCE.left == before


@libraries
def test_a_worker_s_connections_grow_by_no_more_than_there_is(library, monkeypatch):
    monkeypatch.setattr(ALLOWANCE, "left", 1 << 20)
    sessions = [server(library) for _ in range(5)]
    for session in sessions:
        session.receive(headers(1, POST), 100.0)
        upload(session, 1, 20 * MOST, 100.0, 0.01)
    assert ALLOWANCE.left < 1024
    for session in sessions:
        session.release()
    assert ALLOWANCE.left == 1 << 20
