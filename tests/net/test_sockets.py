"""Addresses as people write them, and listening sockets."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.net.sockets import BadAddress, listen, parse_address


@given(st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True), st.integers(0, 65535))
def test_host_and_port_are_told_apart(host, port):
    assert parse_address(f"{host}:{port}") == (host, port)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[::1]:80", ("::1", 80)), ("unix:/run/x.sock", ("/run/x.sock", 0)), ("127.0.0.1:0", ("127.0.0.1", 0))],
)
def test_other_forms(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "localhost:http", "1.2.3.4:65536", "1.2.3.4:-1"])
def test_what_is_no_address_is_refused_with_an_example(text):
    with pytest.raises(BadAddress, match="expected host:port"):
        parse_address(text)


def test_workers_share_a_port():
    first = listen("127.0.0.1", 0)
    second = listen("127.0.0.1", first.getsockname()[1])
    first.close()
    second.close()


def test_a_connection_that_comes_before_its_worker_has_every_option():
    """Without TCP_NODELAY its answers waited for the acknowledgement of the ones before."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_a_taken_port_is_named_in_the_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            listen("127.0.0.1", port)


def test_a_unix_socket_left_behind_is_replaced(tmp_path):
    path = str(tmp_path / "s.sock")
    listen(path, 0).close()
    again = listen(path, 0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    again.close()
