"""A collector's reply costs what it may, however long or slow it is."""

import itertools
import socket
import threading
import time

import pytest
import requests

from meshd.telemetry.bounded_session import REDIRECTS, REPLY, BoundedSession


class Host:
    """Answers every request with pieces of bytes, for as long as there are any and somebody reads."""

    def __init__(self, *pieces, pause=0.0):
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}/v1/traces"
        self._pieces, self._pause = pieces, pause
        self.sent = 0
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        client, _ = self._sock.accept()
        with client:
            client.recv(65536)
            try:
                for piece in itertools.chain.from_iterable(self._pieces):
                    client.sendall(piece)
                    self.sent += len(piece)
                    time.sleep(self._pause)
                    if self.done.is_set():
                        break
            except OSError:
                pass  # whoever asked has left

    def close(self):
        self.done.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._sock.close()


@pytest.fixture
def host():
    made = []

    def make(*pieces, pause=0.0):
        made.append(Host(*pieces, pause=pause))
        return made[-1]

    yield make
    for each in made:
        each.close()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


def test_an_ordinary_reply_is_read(host):
    found = host([HEAD + b"content-length: 2\r\n\r\n{}"])
    with BoundedSession(20) as session:
        response = session.post(found.url, data=b"x", timeout=20)
    assert (response.status_code, response.content, response.text) == (200, b"{}", "{}")


def test_of_a_huge_reply_no_more_is_read_than_may_be(host):
    found = host([HEAD + b"content-length: 1000000000\r\n\r\n"], itertools.repeat(b"x" * 65536, 15000))
    with BoundedSession(20) as session:
        response = session.post(found.url, data=b"x", timeout=20)
        assert len(response.content) == REPLY
    found.close()
    assert found.sent < 100_000_000


@pytest.mark.parametrize(
    "start",
    [b"", HEAD, HEAD + b"\r\n", HEAD + b"transfer-encoding: chunked\r\n\r\n"],
    ids=["line", "head", "body", "chunk"],
)
def test_a_reply_that_drips_for_ever_ends_in_time(host, start):
    found = host([start], itertools.repeat(b"a", 100_000), pause=0.01)
    with BoundedSession(0.3) as session:
        began = time.monotonic()
        try:
            session.post(found.url, data=b"x", timeout=20)
        except requests.RequestException:
            pass
        assert time.monotonic() - began < 15


def test_a_connection_is_kept_and_ends_in_time_the_second_time_too(host):
    ok = HEAD + b"content-length: 2\r\n\r\n{}"
    found = host([ok, HEAD], itertools.repeat(b"a", 100_000), pause=0.01)
    with BoundedSession(0.5) as session:
        assert session.post(found.url, data=b"x", timeout=20).status_code == 200
        with pytest.raises(requests.RequestException):
            session.post(found.url, data=b"x", timeout=20)


def test_a_host_that_sends_on_and_on_takes_the_time_of_one_request():
    """Each redirect used to begin the time anew."""
    sock, asked = socket.create_server(("127.0.0.1", 0)), []

    def serve():
        while True:
            try:
                client, _ = sock.accept()
            except OSError:
                return  # closed: the test is over
            with client:
                asked.append(client.recv(65536))
                time.sleep(0.4)
                try:
                    client.sendall(
                        b"HTTP/1.1 307 Go On\r\nlocation: /on\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    )
                except OSError:
                    pass  # it was not waited for

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1/traces"
    with BoundedSession(0.6) as session, pytest.raises((requests.Timeout, requests.ConnectionError)):
        session.post(url, data=b"spans")
    assert 1 <= len(asked) <= 2
    with BoundedSession(60.0) as session, pytest.raises(requests.TooManyRedirects):
        session.post(url, data=b"spans")
    assert len(asked) <= 2 + 1 + REDIRECTS
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    server.join(30)
