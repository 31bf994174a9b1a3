"""Nobody reads what the sidecar says: traffic goes on, SIGTERM works, and what was not written is counted."""

import os
import pty
import re
import signal
import subprocess
import sys

import pytest
from support.plain_sidecar import PROXY, PlainSidecar
from support.processes import meshd, until


def full_pipe():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    return writer, [reader, writer]


def unread_terminal():
    main, terminal = pty.openpty()
    return terminal, [main, terminal]


def full_disk():
    full = os.open("/dev/full", os.O_WRONLY)
    return full, [full]


def reader_gone():
    reader, writer = os.pipe()
    os.close(reader)
    return writer, [writer]


@pytest.mark.parametrize("make", [full_pipe, unread_terminal, full_disk, reader_gone])
def test_lines_that_nobody_takes_stop_neither_traffic_nor_the_end(tmp_path, make):
    stderr, descriptors = make()
    sidecar = PlainSidecar(tmp_path, stderr)
    try:
        for _ in range(150):
            assert sidecar.offend()
        assert sidecar.ask() in {b"502", b"503"}
        until(lambda: sidecar.metric("meshd_log_coalesced_total") > 100, 30)
        os.kill(sidecar.process.pid, signal.SIGHUP)  # the supervisor has something to say too
        assert sidecar.page("GET", "/ready").startswith(b"HTTP/1.1 200")
    finally:
        code = sidecar.end()
        for each in descriptors:
            os.close(each)
    assert code == 0


def test_a_closed_standard_error_is_no_obstacle(tmp_path):
    code = "import os, sys; os.close(2); os.execv(sys.argv[1], sys.argv[1:])"
    sidecar = PlainSidecar(tmp_path, None, prefix=(sys.executable, "-c", code))
    try:
        for _ in range(20):
            assert b"WARNING" not in sidecar.offend()
        assert sidecar.ask() in {b"502", b"503"}
    finally:
        assert sidecar.end() == 0


def test_what_a_stranger_causes_is_a_few_lines(tmp_path):
    log = tmp_path / "stderr.log"
    with log.open("wb") as stderr:
        sidecar = PlainSidecar(tmp_path, stderr)
    try:
        for _ in range(100):
            assert sidecar.offend()
        until(lambda: sidecar.metric("meshd_log_coalesced_total") > 90, 30)
    finally:
        assert sidecar.end() == 0
    lines = [line for line in log.read_text().splitlines() if "WARNING" in line]
    assert 0 < len(lines) < 30
    counted = sum(int(found) for line in lines for found in re.findall(r"… (\d+) more like this", line))
    assert counted + sum("…" not in line for line in lines) == 100


def test_the_level_of_the_log_is_the_supervisors_too(tmp_path):
    log = tmp_path / "stderr.log"
    with log.open("wb") as stderr:
        sidecar = PlainSidecar(tmp_path, stderr)
    try:
        assert b" 200 " in sidecar.page("POST", "/logging?level=error")
        before = len(log.read_text())
        worker = int(re.search(rb'"pid": (\d+)', sidecar.page("GET", "/server_info").partition(b"workers")[2])[1])
        os.kill(worker, signal.SIGKILL)
        until(lambda: b'"restarts": 1' in sidecar.page("GET", "/server_info"), 30)
        until(lambda: sidecar.ask() in {b"502", b"503"}, 30)
        assert "INFO" not in log.read_text()[before:]
    finally:
        assert sidecar.end() == 0
    assert "draining" not in log.read_text()


def test_a_start_that_fails_ends_even_if_nobody_reads_why(tmp_path):
    (tmp_path / "proxy.yaml").write_text(PROXY.replace("spec:", "spec:\n  nonsense: 1").removesuffix("---\n"))
    stderr, descriptors = full_pipe()
    argv = [*meshd(), "run", "-f", str(tmp_path / "proxy.yaml")]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        assert process.wait(30) == 1
    finally:
        process.kill()
        for each in descriptors:
            os.close(each)
