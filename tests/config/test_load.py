"""Files to documents: what loads, what is refused together, what is skipped, and what changes the stamp."""

import os
import pickle
from pathlib import Path

import pytest
from support.shared import shared_folder

from meshd.config.errors import ConfigError
from meshd.config.load import load_policies, watch_stamp

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{port: 80}]}\n"


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def conformance_files() -> list[Path]:
    root = shared_folder("conformance")
    return [*sorted(root.glob("gateway-api-mesh/*.yaml")), *sorted(root.glob("istio-authz/*/*-in.yaml"))]


def test_every_conformance_document_loads():
    files = conformance_files()
    assert len(files) > 40
    for file in files:
        documents = load_policies([file])
        assert len(documents) > 0
        assert pickle.loads(pickle.dumps(documents)) == documents


def test_errors_of_all_files_come_together(tmp_path):
    write(tmp_path, "a.yaml", "apiVersion: v1\nkind: Servic\nmetadata: {name: x}\n")
    write(tmp_path, "b/c.yml", "a: [1\n")
    write(tmp_path, "d.json", '{"apiVersion": "v2", "kind": "Service"}')
    with pytest.raises(ConfigError) as caught:
        load_policies([tmp_path])
    said = [(Path(problem.file).name, problem.line, problem.suggestion) for problem in caught.value.problems]
    assert said == [("a.yaml", 2, "did you mean 'Service'?"), ("d.json", 1, ""), ("c.yml", 1, "")]


def test_tests_and_hidden_files_are_skipped(tmp_path):
    write(tmp_path, "a.yaml", SERVICE % "a")
    for name in ("a_test.yaml", ".b.yaml", "..data/c.yaml", "notes.txt"):
        write(tmp_path, name, SERVICE % "a")
    assert len(load_policies([tmp_path])) == 1


def test_mounted_config_map_counts_once_and_its_swap_shows(tmp_path):
    for version in ("1", "2"):
        write(tmp_path, f"..2024_{version}/a.yaml", SERVICE % "a")
    os.symlink("..2024_1", tmp_path / "..data")
    os.symlink("..data/a.yaml", tmp_path / "a.yaml")
    before = watch_stamp([tmp_path])
    assert len(load_policies([tmp_path, tmp_path / "a.yaml"])) == 1
    os.symlink("..2024_2", tmp_path / "..new")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    assert watch_stamp([tmp_path]) != before


def test_stamp_knows_a_file_that_comes_and_one_that_goes(tmp_path):
    before = watch_stamp([tmp_path])
    file = write(tmp_path, "a.yaml", SERVICE % "a")
    assert watch_stamp([tmp_path]) != before
    file.unlink()
    assert watch_stamp([tmp_path]) == before


def test_folders_that_lead_into_themselves_end(tmp_path):
    write(tmp_path, "a.yaml", SERVICE % "a")
    os.symlink(tmp_path, tmp_path / "loop")
    assert len(load_policies([tmp_path])) == 1


def test_a_folder_without_documents_is_taken_at_the_start_with_a_warning(tmp_path):
    """There is no last good set that could go on; beside a folder that has some, an empty one is told of as well."""
    empty = tmp_path / "empty"
    empty.mkdir()
    write(tmp_path, "full/a.yaml", SERVICE % "a")
    for paths, count in (([empty], 0), ([empty, tmp_path / "full"], 1)):
        documents = load_policies(paths)
        assert len(documents) == count
        [problem] = documents.problems
        assert (problem.severity, problem.file) == ("warning", str(empty))
        assert problem.expected == "no document is in this folder"


def test_missing_path_is_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_policies([tmp_path / "none"])
    assert caught.value.problems[0].file == str(tmp_path / "none")


def test_link_that_leads_nowhere_is_an_error(tmp_path):
    os.symlink("nowhere", tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policies([tmp_path])


def test_duplicate_names_both_places(tmp_path):
    write(tmp_path, "a.yaml", SERVICE % "a")
    write(tmp_path, "b.yaml", "---\n" + SERVICE % "a")
    with pytest.raises(ConfigError) as caught:
        load_policies([tmp_path])
    [problem] = caught.value.problems
    assert (problem.rule, Path(problem.file).name, problem.line) == ("duplicate", "b.yaml", 4)
    assert f"{tmp_path / 'a.yaml'}:1" in problem.expected


def test_lists_flatten_with_their_positions(tmp_path):
    item = "- apiVersion: v1\n  kind: Service\n  metadata: {name: %s}\n  spec: {ports: [{port: 80}]}\n"
    write(tmp_path, "a.yaml", "apiVersion: v1\nkind: List\nitems:\n" + item % "b" + item % "a")
    documents = load_policies([tmp_path])
    assert [(each.model.name, each.where(("metadata", "name"))[1]) for each in documents.services] == [
        ("a", 10),
        ("b", 6),
    ]


def test_digest_is_about_what_documents_say(tmp_path):
    one = load_policies([write(tmp_path, "a.yaml", SERVICE % "a" + "---\n" + SERVICE % "b")])
    noisy = (SERVICE % "a").replace("{name: a}", "{name: a, resourceVersion: '7', managedFields: [{}]}")
    two = load_policies(
        [write(tmp_path, "b.yaml", SERVICE % "b" + "---\n# moved\n" + noisy + "status: {loadBalancer: {}}")]
    )
    three = load_policies([write(tmp_path, "c.yaml", SERVICE % "a" + "---\n" + SERVICE % "c")])
    assert one.digest == two.digest != three.digest


def test_kinds_without_traffic_are_a_warning(tmp_path):
    documents = load_policies(
        [write(tmp_path, "a.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n")]
    )
    assert len(documents) == 0
    assert [problem.severity for problem in documents.problems] == ["warning"]


def test_traffic_kinds_of_others_are_errors_that_say_what_to_write(tmp_path):
    file = write(tmp_path, "a.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n")
    with pytest.raises(ConfigError, match="write an HTTPRoute"):
        load_policies([file])
