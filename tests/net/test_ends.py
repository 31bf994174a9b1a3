"""A peer that only ended its own direction, and one that closed: the same on the wire, not to the kernel."""

import contextlib
import select
import socket

import pytest
from support.processes import until

from meshd.net import ends
from meshd.net.ends import has_hung_up, is_orphan, look


@contextlib.contextmanager
def connected(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        client = socket.create_connection(listening.getsockname()[:2])
        server, _ = listening.accept()
    with client, server:
        yield client, server


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_ended_its_own_direction_is_there_until_it_closes(host):
    with connected(host) as (client, server):
        assert not is_orphan(server)
        client.shutdown(socket.SHUT_WR)
        until(lambda: has_hung_up(server.fileno()), what="the end is here")
        assert not is_orphan(server)
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"
        client.close()
        until(lambda: is_orphan(server), what="the kernel tells of the close")


def test_who_closes_at_once_is_gone():
    with connected() as (client, server):
        client.close()
        until(lambda: has_hung_up(server.fileno()), what="the end is here")
        assert is_orphan(server)


def test_a_duplicate_of_the_socket_keeps_it():
    with connected() as (client, server):
        with client.dup():
            client.close()
            assert not is_orphan(server)
        until(lambda: is_orphan(server), what="the kernel tells of the close")


def test_a_reset_is_no_question():
    with connected() as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
        until(lambda: look(server.fileno(), 0) & (select.POLLHUP | select.POLLERR), what="the reset is here")


def test_a_peer_elsewhere_is_there_as_far_as_can_be_told(monkeypatch):
    with connected() as (client, server):
        client.close()
        until(lambda: has_hung_up(server.fileno()), what="the end is here")
        asked = []
        monkeypatch.setattr(ends, "_inode", lambda *_: asked.append(1))

        class Elsewhere:
            family = socket.AF_INET

            def getpeername(self):
                return ("192.0.2.1", 4711)

            def getsockname(self):
                return ("192.0.2.2", 80)

        assert not is_orphan(Elsewhere())
        assert not asked


def test_without_the_facility_nobody_is_called_gone(monkeypatch):
    def refuse(*_):
        raise OSError("no such facility")

    monkeypatch.setattr(ends, "_inode", refuse)
    with connected() as (client, server):
        client.close()
        assert not is_orphan(server)


def test_unix_sockets_tell_by_themselves():
    left, right = socket.socketpair()
    with left, right:
        left.shutdown(socket.SHUT_WR)
        assert has_hung_up(right.fileno())
        assert look(right.fileno(), select.POLLRDHUP) == select.POLLRDHUP
        assert not is_orphan(right)
        left.close()
        assert look(right.fileno(), select.POLLRDHUP) & select.POLLHUP


def test_a_descriptor_that_is_closed_has_hung_up():
    assert has_hung_up(-1)
