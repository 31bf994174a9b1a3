"""A host that goes on for ever is cut off at its moment, and no earlier."""

import socket
import threading

import pytest

from meshd.telemetry.cutoff import Cutoff


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_read_that_would_wait_for_ever_ends(ends):
    ours, _theirs = ends
    with Cutoff(0.01) as cutoff:
        cutoff.watch(ours)
        assert ours.recv(1) == b""
    assert cutoff.is_cut


def test_a_connection_made_too_late_ends_at_once(ends):
    ours, _theirs = ends
    with Cutoff(0) as cutoff:
        cutoff._timer.join()
        cutoff.watch(ours)
        assert ours.recv(1) == b""


def test_what_ends_in_time_is_left_alone(ends):
    ours, theirs = ends
    before = threading.active_count()
    with Cutoff(3600) as cutoff:
        cutoff.watch(ours)
    theirs.sendall(b"x")
    assert ours.recv(1) == b"x"
    cutoff._timer.join()
    assert threading.active_count() == before
    assert repr(cutoff) == "<Cutoff of 0 connections>"
