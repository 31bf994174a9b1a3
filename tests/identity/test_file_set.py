import os
import stat

import pytest

from meshd.identity.file_set import PRIVATE, NewFile, write_files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_written_with_their_modes_and_nothing_else_is_left(tmp_path):
    write_files(tmp_path, NewFile("a", b"1"), NewFile("b", b"2", PRIVATE), overwrite=False)
    assert names(tmp_path) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() == b"12"
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


def test_a_key_is_private_from_its_first_moment(tmp_path, monkeypatch):
    modes = []
    real = os.fsync

    def watch(fd):
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        real(fd)

    monkeypatch.setattr(os, "fsync", watch)
    write_files(tmp_path, NewFile("key", b"secret", PRIVATE), overwrite=True)
    assert modes[0] == 0o600


def test_nothing_is_touched_when_one_of_them_exists(tmp_path):
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(FileExistsError, match="b exists already"):
        write_files(tmp_path, NewFile("a", b"1"), NewFile("b", b"2"), overwrite=False)
    assert names(tmp_path) == ["b"]
    assert (tmp_path / "b").read_bytes() == b"old"


def test_a_dangling_link_counts_as_there(tmp_path):
    (tmp_path / "a").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        write_files(tmp_path, NewFile("a", b"1"), overwrite=False)


def test_overwriting_replaces_the_file_and_a_reader_keeps_the_old_one(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with (tmp_path / "a").open("rb") as reader:
        write_files(tmp_path, NewFile("a", b"new"), overwrite=True)
        assert reader.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_bytes(b"untouched")
    (tmp_path / "a").symlink_to("target")
    write_files(tmp_path, NewFile("a", b"new"), overwrite=True)
    assert (tmp_path / "target").read_bytes() == b"untouched"
    assert not (tmp_path / "a").is_symlink()


def test_a_failure_half_way_leaves_the_old_files_and_no_drafts(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    real = os.fsync
    calls = []

    def full(fd):
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_files(tmp_path, NewFile("a", b"new"), NewFile("b", b"2"), overwrite=True)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
