"""What lines are written to: pipes, terminals, sockets and files that nobody reads never hold the writer up."""

import errno
import fcntl
import os
import pty
import socket

import pytest

from meshd.telemetry.outlet import PIPE_BUF, Outlet

LINE = b"x" * 1023 + b"\n"


def fill(outlet):
    """Write until nothing more is taken; how many bytes went in. Returning at all is what is tested."""
    taken = 0
    for _ in range(100_000):
        size = outlet.write(LINE)
        if not size:
            return taken
        taken += size
    raise AssertionError("it takes everything")


def is_blocking(fd):
    return not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK


@pytest.fixture
def ends():
    opened = []
    yield opened
    for fd in opened:
        os.close(fd)


def test_a_full_pipe_takes_nothing_and_stays_blocking_for_whoever_shares_it(ends):
    reader, writer = os.pipe()
    ends += [reader, writer]
    outlet = Outlet.of_standard(writer)
    assert fill(outlet) > 0
    assert is_blocking(writer)
    os.read(reader, 65536)
    assert outlet.write(LINE) == len(LINE)
    outlet.close()


def test_a_terminal_that_nobody_reads_takes_nothing_more(ends):
    main, terminal = pty.openpty()
    ends += [main, terminal]
    outlet = Outlet.of_standard(terminal)
    assert fill(outlet) > 0
    assert is_blocking(terminal)
    outlet.close()


def test_a_socket_that_nobody_reads_takes_nothing_more():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outlet = Outlet.of_standard(ours.fileno())
        assert fill(outlet) > 0
        assert is_blocking(ours.fileno())
        outlet.close()
        assert ours.getblocking()


def test_a_file_keeps_the_position_that_others_share(tmp_path, ends):
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    ends.append(fd)
    outlet = Outlet.of_standard(fd)
    outlet.write(b"ours\n")
    os.write(fd, b"theirs\n")
    outlet.close()
    assert (tmp_path / "log").read_bytes() == b"ours\ntheirs\n"


def test_what_cannot_be_opened_anew_is_asked_before_each_write(ends, monkeypatch):
    reader, writer = os.pipe()
    ends += [reader, writer]

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("meshd.telemetry.outlet.os.open", refuse)
    outlet = Outlet.of_standard(writer)
    monkeypatch.undo()
    assert outlet.write(b"y" * 2 * PIPE_BUF) == PIPE_BUF
    assert fill(outlet) > 0
    assert repr(outlet).endswith("asks first>")


def test_a_full_disk_and_a_closed_descriptor_are_errors_that_pass(ends):
    full = os.open("/dev/full", os.O_WRONLY)
    ends.append(full)
    with pytest.raises(OSError, match="No space left"):
        Outlet.of_standard(full).write(LINE)
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Outlet.of_standard(writer).write(LINE)
