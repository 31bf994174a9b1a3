"""What a sidecar says of itself: lines, a file, a datagram."""

import json
import socket

import pytest

from meshd.process import announce
from meshd.process.listeners import bind, listens_of


@pytest.fixture
def told(folder):
    folder.bootstrap('  outbound: [{listen: "127.0.0.1:0", service: "reviews:80"}, {listen: "127.0.0.1:0"}]\n')
    accepted = folder.accepted()
    listeners = bind(listens_of(accepted))
    yield accepted, listeners
    listeners.close()


def port(listeners, name):
    return listeners.bound[name].address.port


def test_every_listener_has_a_line_with_the_port_it_found(told):
    accepted, listeners = told
    assert list(announce.lines(accepted, listeners)) == [
        f"inbound 127.0.0.1:{port(listeners, 'inbound-0')} -> 127.0.0.1:9",
        f"outbound 127.0.0.1:{port(listeners, 'outbound-0')} -> reviews:80",
        f"outbound 127.0.0.1:{port(listeners, 'outbound-1')}",
        f"admin http://127.0.0.1:{port(listeners, 'admin')}/",
    ]


def test_the_file_says_the_same_and_appears_whole(told, tmp_path):
    accepted, listeners = told
    path = tmp_path / "ready.json"
    announce.write(path, announce.document(accepted, listeners))
    read = json.loads(path.read_text())
    assert read["name"] == "orders"
    assert read["admin"] == f"127.0.0.1:{port(listeners, 'admin')}"
    assert [each["name"] for each in read["listeners"]] == ["inbound-0", "outbound-0", "outbound-1"]
    assert [each for each in tmp_path.iterdir() if "ready" in each.name] == [path]


def test_systemd_is_told_when_it_wants_to_know(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        announce.notify("READY=1")
        assert systemd.recv(100) == b"READY=1"
    announce.notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    announce.notify("READY=1")
