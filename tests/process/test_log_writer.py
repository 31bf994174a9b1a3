"""Nobody waits for whoever reads standard error: what does not fit is dropped and told of."""

import os
import time

import pytest

from meshd.process import log_writer
from meshd.process.log_writer import LogWriter
from meshd.telemetry.outlet import Outlet

LINE = b"x" * 99 + b"\n"


class Pipe:
    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.outlet = Outlet.of_standard(self.writer)

    def read(self, until=b""):
        """Everything in it; wait until it has a piece of text."""
        os.set_blocking(self.reader, False)
        found, end = b"", time.monotonic() + 20
        while time.monotonic() < end:
            try:
                found += os.read(self.reader, 1 << 20)
            except BlockingIOError:
                if until in found:
                    return found
                time.sleep(0.001)
        raise AssertionError(f"{until!r} was not written")


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.outlet.close()
    os.close(pipe.reader)
    os.close(pipe.writer)


@pytest.fixture(params=["at once", "by a thread"])
def writer(request, pipe):
    writer = LogWriter(pipe.outlet, lambda count: b"%d dropped\n" % count)
    if request.param == "by a thread":
        writer.begin_in_child()
    yield writer
    end = time.monotonic() + 60
    while not writer.is_idle and time.monotonic() < end:  # its thread must not outlive the pipe
        pipe.read()
        writer.pump()
    writer.close(5)
    assert writer._thread is None


def test_a_line_is_written(pipe, writer):
    writer.put(LINE)
    assert pipe.read(LINE) == LINE
    assert writer.statistics() == {"waiting": 0, "queued_bytes": 0, "dropped": 0}


def test_a_full_pipe_holds_nobody_up_and_the_gap_is_told_of(pipe, writer):
    count = 20_000  # seven times what pipe and queue hold
    for _ in range(count):
        writer.put(LINE)
    assert writer.dropped > 0
    assert writer.statistics()["queued_bytes"] <= log_writer.BOUND
    said, end = b"", time.monotonic() + 20
    while b" dropped\n" not in said and time.monotonic() < end:
        said += pipe.read()
        writer.pump()
    assert said.count(LINE) + writer.dropped == count
    assert said.endswith(b"%d dropped\n" % writer.dropped)


def test_the_end_waits_a_moment_for_nobody(pipe, writer):
    for _ in range(3000):
        writer.put(LINE)
    began = time.monotonic()
    writer.close(0.05)
    assert time.monotonic() - began < 5


def test_a_full_disk_keeps_what_waits_until_there_is_room(tmp_path, monkeypatch):
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    full = os.open("/dev/full", os.O_WRONLY)
    outlet = Outlet(full, owned=True)
    writer = LogWriter(outlet, lambda count: b"")
    writer.put(LINE)
    assert writer.waits_for is None  # a disk is always ready to be written to, and would wake us for ever
    outlet.fd = fd
    writer.pump()
    assert (tmp_path / "log").read_bytes() == LINE
    os.close(full)
    outlet.close()


def test_what_waits_in_the_supervisor_is_waited_for(pipe):
    writer = LogWriter(pipe.outlet, lambda count: b"")
    while writer.waits_for is None:
        writer.put(LINE)
    assert writer.waits_for == pipe.outlet.fd
    pipe.read()
    writer.pump()
    assert writer.waits_for is None


def test_after_the_end_lines_are_written_at_once(pipe, writer):
    writer.put(LINE)
    writer.close(5)
    writer.put(b"late\n")
    assert pipe.read(b"late\n") == LINE + b"late\n"
    assert "0 waiting" in repr(writer)
