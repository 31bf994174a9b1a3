"""The library of policies: every document loads, says what it is for, and does what its test says."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from meshd.cli.check import check
from meshd.cli.test import read_tests, results_of, world_of
from meshd.explain.explanation import explain
from meshd.explain.judge import question_for

LIBRARY = Path(__file__).parents[1] / "policies"
FOLDERS = sorted(each for each in LIBRARY.iterdir() if each.is_dir() and each.name != "demo")


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request):
    return request.param


def test_there_is_a_document_and_a_test_of_its_name(folder):
    names = {each.name for each in folder.iterdir()}
    assert names == {f"{folder.name}.yaml", f"{folder.name}_test.yaml"}


def test_it_says_what_it_is_for_at_its_top(folder):
    text = (folder / f"{folder.name}.yaml").read_text()
    head = text[: text.index("apiVersion")].splitlines()
    assert len(head) >= 3
    assert all(line.startswith("#") for line in head)


def test_it_has_no_mistakes(folder):
    _, problems = check(None, [folder], 0.0)
    meant = "an ALLOW policy without rules admits nobody"
    assert [problem for problem in problems if problem.expected != meant] == []


def test_it_does_what_its_test_says(folder):
    results = [result for loaded in read_tests([folder]) for result in results_of(loaded)]
    assert len(results) >= 3
    assert [(result.name, result.mismatches) for result in results if not result.passed] == []


def test_every_case_can_be_explained(folder):
    for loaded in read_tests([folder]):
        world = world_of(loaded)
        for case in loaded.model.spec.cases:
            question = question_for(case.given, world)
            found = explain(world, question)
            assert found.answer.outcome == world.ask(question).outcome
            verdict = found.answer.verdict
            decided = [(rule.policy, rule.rule) for rule in found.rules if rule.decided]
            assert decided == ([(verdict.policy, verdict.rule)] if verdict is not None and verdict.policy else [])


def test_its_test_fails_without_it(folder, tmp_path):
    documents = yaml.safe_load_all((folder / f"{folder.name}.yaml").read_text())
    kept = [document for document in documents if document["kind"] == "Service"]
    (tmp_path / "services.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": kept}))
    results = []
    for loaded in read_tests([folder]):
        spec = loaded.model.spec.model_copy(update={"policies": (str(tmp_path / "services.yaml"),)})
        emptied = replace(loaded, model=loaded.model.model_copy(update={"spec": spec}))
        results += results_of(emptied)
    assert any(not result.passed for result in results)


def test_the_list_names_every_folder():
    text = (LIBRARY / "README.md").read_text()
    assert all(f"`{folder.name}/`" in text for folder in FOLDERS)


@pytest.mark.parametrize("folder", [LIBRARY / "demo", *FOLDERS], ids=lambda folder: folder.name)
def test_there_is_not_even_a_warning_about_it(folder):
    count, problems = check(None, [folder], 0.0)
    assert count > 0
    assert problems == []
