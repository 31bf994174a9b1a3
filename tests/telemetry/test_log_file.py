"""What a path names, followed when it is renamed; a FIFO that nobody reads is told of and never waited for."""

import os

import pytest

from meshd.telemetry.log_file import WRITE_SIZE, LogFile
from meshd.telemetry.outlet import PIPE_BUF


def test_a_file_is_opened_followed_and_closed(tmp_path):
    file = LogFile(str(tmp_path / "log"))
    assert not file.has_moved()
    file.open()
    file.outlet.write(b"one\n")
    assert not file.has_moved()
    (tmp_path / "log").rename(tmp_path / "log.1")
    assert file.has_moved()
    file.open()
    file.outlet.write(b"two\n")
    file.close()
    assert ((tmp_path / "log.1").read_text(), (tmp_path / "log").read_text()) == ("one\n", "two\n")
    assert (file.size, repr(file)) == (WRITE_SIZE, f"<LogFile {tmp_path / 'log'}>")


def test_what_cannot_be_opened_changes_nothing(tmp_path):
    file = LogFile(str(tmp_path / "folder" / "log"))
    with pytest.raises(OSError, match=r"cannot open the access log .*/folder/log: No such file or directory"):
        file.open()
    assert file.outlet is None


def test_a_fifo_is_open_once_somebody_reads_it(tmp_path):
    os.mkfifo(tmp_path / "log")
    file = LogFile(str(tmp_path / "log"))
    with pytest.raises(OSError, match="nobody reads the FIFO"):
        file.open()
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    file.open()
    assert file.size == PIPE_BUF
    file.outlet.write(b"one\n")
    assert os.read(reader, 100) == b"one\n"
    file.close()
    os.close(reader)


def test_standard_output_is_never_moved_nor_closed():
    file = LogFile("-")
    file.open()
    outlet = file.outlet
    file.open()
    assert file.outlet is outlet
    assert not file.has_moved()
    file.close()
    os.fstat(1)
