"""Which files hold documents."""

import os

from meshd.config.folder import find_files, watch_stamp


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def names(folder, *paths):
    files, problems = find_files(paths or [folder])
    assert problems == []
    return [str(file.relative_to(folder)) for file in files]


def test_files_come_in_order_of_name(tmp_path):
    touch(tmp_path, "b.yaml", "a/z.json", "a.yml", "a/b/c.yaml", "a/notes.md", "Makefile")
    assert names(tmp_path) == ["a.yml", "b.yaml", "a/z.json", "a/b/c.yaml"]


def test_hidden_names_and_tests_are_left_out(tmp_path):
    touch(tmp_path, ".a.yaml", "..data/a.yaml", ".git/a.yaml", "a_test.yaml", "b_test.json", "test.yaml")
    assert names(tmp_path) == ["test.yaml"]


def test_a_file_named_outright_counts(tmp_path):
    touch(tmp_path, "policies.txt", "a_test.yaml")
    assert names(tmp_path, tmp_path / "policies.txt", tmp_path / "a_test.yaml") == ["policies.txt", "a_test.yaml"]


def test_a_file_counts_once(tmp_path):
    touch(tmp_path, "a.yaml")
    os.symlink("a.yaml", tmp_path / "b.yaml")
    assert names(tmp_path, tmp_path, tmp_path / "a.yaml", tmp_path) == ["a.yaml"]


def test_other_than_files_is_left_out(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").mkdir()
    assert names(tmp_path) == []


def test_what_is_not_there_is_a_problem_and_part_of_the_stamp(tmp_path):
    files, [problem] = find_files([tmp_path / "a"])
    assert files == []
    assert (problem.file, problem.rule) == (str(tmp_path / "a"), "file")
    assert watch_stamp([tmp_path / "a"]) == ((str(tmp_path / "a"), -1, -1, -1),)


def test_the_stamp_changes_with_the_content(tmp_path):
    touch(tmp_path, "a.yaml")
    before = watch_stamp([tmp_path])
    assert watch_stamp([tmp_path]) == before
    (tmp_path / "a.yaml").write_text("longer")
    assert watch_stamp([tmp_path]) != before
    os.symlink("nowhere", tmp_path / "b.yaml")
    assert watch_stamp([tmp_path])[-1] == (str(tmp_path / "b.yaml"), -1, -1, -1)
