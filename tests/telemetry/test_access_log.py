import errno
import json
import os
import threading

import pytest
from support.exchanges import make_exchange, make_record

from meshd.telemetry import access_log
from meshd.telemetry.access_log import AccessLog

RECORD = make_record()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "access.log"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(access_log, "PAUSE", 0.001)


def until(condition):
    """Wait for what another thread is about to do."""
    gate = threading.Event()
    for _ in range(5000):
        if condition():
            return
        gate.wait(0.001)
    raise AssertionError("it never happened")


def numbers(path):
    return [int(json.loads(line)["path"][1:]) for line in path.read_text().splitlines()]


def numbered(*which):
    return [make_record(path=b"/%d" % number) for number in which]


@pytest.mark.parametrize(("name", "first"), [("json", "{"), ("text", "[")])
def test_lines_are_written_in_their_format_and_order(path, name, first):
    log = AccessLog(str(path), name)
    log.offer([RECORD, RECORD])
    log.offer([RECORD])
    log.close(5)
    lines = path.read_text().splitlines()
    assert [line[0] for line in lines] == [first] * 3
    assert log.statistics() == {"written": 3, "dropped": 0, "queued_octets": 0}
    assert dict(log.counters()) == {
        ("meshd.log.lines", ()): 3,
        ("meshd.telemetry.dropped", (("meshd.at", "access log"),)): 0,
    }


def test_more_than_one_write_takes_is_written_whole(path):
    log = AccessLog(str(path))
    log.offer(numbered(*range(500)))
    log.close(5)
    assert numbers(path) == list(range(500))


def test_a_renamed_file_is_followed(path):
    log = AccessLog(str(path))
    log.offer(numbered(1))
    until(lambda: log.written == 1)
    old = path.rename(path.with_suffix(".1"))
    log.offer(numbered(2))
    until(lambda: log.written == 2)
    path.unlink()
    log.offer(numbered(3))
    log.close(5)
    assert (numbers(old), numbers(path)) == ([1], [3])


def test_reopen_makes_the_new_file_at_once(path):
    log = AccessLog(str(path))
    until(path.exists)
    path.rename(path.with_suffix(".1"))
    log.reopen()
    until(path.exists)
    log.close(5)


def test_when_the_path_cannot_be_opened_again_the_old_file_goes_on(path, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AccessLog(str(folder / "access.log"))
    until((folder / "access.log").exists)
    kept = folder.rename(tmp_path / "moved")
    log.offer(numbered(1))
    log.close(5)
    assert numbers(kept / "access.log") == [1]


def test_a_path_that_cannot_be_opened_yet_is_tried_again(tmp_path):
    path = tmp_path / "later" / "access.log"
    log = AccessLog(str(path))
    log.offer(numbered(1))
    until(lambda: log.failing)
    path.parent.mkdir()
    until(lambda: log.written == 1)
    log.close(5)
    assert (numbers(path), log.dropped) == ([1], 0)


def test_a_fifo_without_a_reader_is_opened_when_there_is_one(path):
    os.mkfifo(path)
    log = AccessLog(str(path))
    log.offer(numbered(1))
    until(lambda: log.failing)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    until(lambda: log.written == 1)
    assert json.loads(os.read(reader, 4096))["path"] == "/1"
    os.close(reader)
    log.offer(numbered(2))  # falls into the gap
    until(lambda: log.dropped == 1)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log.offer(numbered(3))
    until(lambda: log.written == 2)
    assert json.loads(os.read(reader, 4096))["path"] == "/3"
    log.close(5)
    os.close(reader)


def test_a_fifo_that_nobody_ever_reads_costs_its_lines_and_nothing_else(path, monkeypatch):
    monkeypatch.setattr(access_log, "QUEUE_OCTETS", 100_000)
    os.mkfifo(path)
    log = AccessLog(str(path))
    for _ in range(1000):
        log.offer([RECORD])
    assert log.statistics()["queued_octets"] <= 100_000
    log.close(5)
    assert (log.written, log.dropped) == (0, 1000)


def test_a_blocked_pipe_blocks_nobody(path, monkeypatch):
    monkeypatch.setattr(access_log, "QUEUE_OCTETS", 100_000)
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(path))
    for _ in range(2000):
        log.offer([RECORD])  # more than pipe and queue hold
    assert log.dropped > 500
    assert log.statistics()["queued_octets"] <= 100_000
    log.close(0.01)  # gives up in time
    os.set_blocking(reader, True)
    drained = b""
    while piece := os.read(reader, 1 << 20):
        drained += piece
    os.close(reader)
    log.close(5)
    lines = drained.splitlines()
    assert len(lines) == log.written == 2000 - log.dropped
    assert all(json.loads(line) for line in lines)


def test_after_a_full_disk_lines_are_whole_again(path, monkeypatch):
    log = AccessLog(str(path))
    log.offer(numbered(0))
    until(lambda: log.written == 1)
    write, calls = os.write, []

    def full(fd, data):
        calls.append(len(data))
        if len(calls) == 1:
            return write(fd, bytes(data)[:50])  # half a line, then nothing more fits
        if len(calls) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr("meshd.telemetry.outlet.os.write", full)
    log.offer(numbered(1))
    until(lambda: log.failing)
    log.offer(numbered(2))
    until(lambda: log.dropped == 2)
    log.offer(numbered(3))
    log.close(5)
    before, torn, line = path.read_text().splitlines()
    assert (json.loads(before)["path"], len(torn), json.loads(line)["path"]) == ("/0", 50, "/3")
    assert (log.written, log.dropped, log.failing) == (2, 2, False)


def test_dash_is_standard_output(capfd):
    log = AccessLog("-")
    log.reopen()
    log.offer([RECORD])
    log.close(5)
    os.fstat(1)  # still ours to use
    assert json.loads(capfd.readouterr().out)["method"] == "GET"


def test_after_close_lines_are_dropped(path):
    log = AccessLog(str(path))
    log.close(5)
    log.offer([RECORD])
    assert log.dropped == 1
    assert repr(log).endswith("access.log 0 written, 1 dropped>")


def test_offer_takes_any_exchange(path):
    log = AccessLog(str(path))
    exchange = make_exchange()
    exchange.details = "half a surrogate \ud800"
    log.offer([make_record(exchange)])
    log.close(5)
    assert log.written == 1
