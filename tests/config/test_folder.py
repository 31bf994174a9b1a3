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


def test_a_folder_with_the_name_of_a_document_is_a_folder(tmp_path):
    (tmp_path / "b.yaml").mkdir()
    touch(tmp_path, "b.yaml/a.yaml")
    assert names(tmp_path) == ["b.yaml/a.yaml"]


def test_what_has_the_name_of_a_document_and_is_none_is_never_passed_over(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    os.symlink(tmp_path / "a.yaml", tmp_path / "b.yaml")
    touch(tmp_path, "c.yaml")
    files, problems = find_files([tmp_path])
    assert files == [tmp_path / "c.yaml"]
    assert [(problem.severity, problem.file) for problem in problems] == [
        ("error", str(tmp_path / "a.yaml")),
        ("error", str(tmp_path / "b.yaml")),
    ]


def test_a_link_that_led_to_a_folder_of_documents_is_missed(tmp_path):
    policies, elsewhere = tmp_path / "policies", tmp_path / "elsewhere"
    touch(tmp_path, "policies/a.yaml", "elsewhere/b.yaml", "policies/README.md")
    os.symlink(elsewhere, policies / "team")
    os.symlink(policies / "README.md", policies / "notes")
    os.symlink("user@host.1234", policies / ".#a.yaml")  # an editor's lock
    assert names(policies) == ["a.yaml", "team/b.yaml"]
    elsewhere.rename(tmp_path / "gone")
    files, [problem] = find_files([policies])
    assert files == [policies / "a.yaml"]
    assert (problem.severity, problem.file) == ("error", str(policies / "team"))


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
    before = watch_stamp([tmp_path])
    (tmp_path / "a.yaml").chmod(0)
    assert watch_stamp([tmp_path]) != before  # it may no longer be read
    os.symlink("nowhere", tmp_path / "b.yaml")
    assert (str(tmp_path / "b.yaml"), -1, -1, -1) in watch_stamp([tmp_path])


def test_the_stamp_changes_though_a_copy_kept_size_and_time(tmp_path):
    touch(tmp_path, "a.yaml")
    file = tmp_path / "a.yaml"
    file.write_text("one")
    status, before = file.stat(), watch_stamp([tmp_path])
    file.write_text("two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert watch_stamp([tmp_path]) != before


def test_the_stamp_changes_with_a_folder_that_holds_nothing(tmp_path):
    """What it held may be missed as long as it is there, and is deleted with it."""
    (tmp_path / "empty").mkdir()
    before = watch_stamp([tmp_path])
    (tmp_path / "empty").rmdir()
    assert watch_stamp([tmp_path]) != before
