"""Addresses as people write them, and listening sockets."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.net.sockets import BadAddress, listen, parse_address, tune


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


def test_workers_share_a_port_and_options_are_inherited():
    first = listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    second = listen("127.0.0.1", port)
    second.close()
    tune(first)
    client = socket.create_connection(("127.0.0.1", port))
    first.setblocking(True)
    accepted, _ = first.accept()
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for sock in (first, client, accepted):
        sock.close()


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
