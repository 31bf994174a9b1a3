"""One file to documents, whatever the file says: mutated documents of the conformance corpus give documents or problems
with file and line, never anything else."""

import functools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import FILE, document, problems_of, read
from support.shared import shared_folder

from meshd.config.reader import flatten, model_for, read_document, read_file, title_of
from meshd.config.service import Service
from meshd.config.spot import Spot
from meshd.config.yaml_file import parse

HERE = Spot(1, 1, 1, 1)
SCRAPS = (
    *(": ", "- ", "\n", "  ", "{", "}", "[", "]", "'", '"', "&a ", "*a", "<<: *a", "!!str ", "null", "\t", "#", "|"),
    *("%", "\ufeff", "\x00", "é", "1e999", "~", "? "),
)


@functools.cache
def corpus():
    root = shared_folder("conformance")
    files = [*sorted(root.glob("gateway-api-mesh/*.yaml")), *sorted(root.glob("istio-authz/*/*-in.yaml"))]
    texts = [file.read_bytes() for file in files]
    return [text for text in texts if len(text) < 4000]


def mangle(text: bytes, rng: random.Random) -> bytes:
    """One to four changes: an octet, a line gone, doubled or moved, a scrap put in, a value swapped."""
    for _ in range(rng.randint(1, 4)):
        lines = text.splitlines(keepends=True) or [b""]
        place = rng.randrange(len(lines))
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(6)
        if kind == 0 and text:
            text = text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
        elif kind == 1:
            text = b"".join([*lines[:place], *lines[place + 1 :]])
        elif kind == 2:
            text = b"".join([*lines[:place], lines[place], *lines[place:]])
        elif kind == 3:
            text = text[:at] + rng.choice(SCRAPS).encode() + text[at:]
        elif kind == 4:
            text = b"".join([*lines[:place], b" " * rng.randrange(5) + lines[place].lstrip(), *lines[place + 1 :]])
        else:
            key, colon, _ = lines[place].partition(b":")
            value = rng.choice(
                [b" 1", b" true", b" []", b" {}", b" ''", b" ~", b" -1", b" 99999999999999999999", b" .nan"]
            )
            text = b"".join([*lines[:place], key + colon + value + b"\n", *lines[place + 1 :]])
    return text


@given(st.integers(0, 2**64))
def test_mutated_documents_give_documents_or_problems(seed):
    rng = random.Random(seed)
    for _ in range(4):
        text = mangle(rng.choice(corpus()), rng)
        texts, problems = parse(text, FILE)
        for each in texts:
            problems += read_document(each, FILE)[1]
        for problem in problems:
            assert problem.file == FILE
            assert problem.line >= 1
            assert problem.expected


@given(st.binary(max_size=300))
def test_any_octets_give_documents_or_problems(octets):
    texts, problems = parse(octets, FILE)
    for each in texts:
        problems += read_document(each, FILE)[1]
    assert all(problem.file == FILE for problem in problems)


def test_lists_of_any_kind_flatten():
    items = "items:\n- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1}]}}\n"
    for kind in ("List", "ServiceList"):
        documents, problems = read(f"apiVersion: v1\nkind: {kind}\n{items}")
        assert [each.model.name for each in documents] == ["a"]
        assert problems == []
        assert documents[0].where(("spec", "ports", 0, "port")) == (FILE, 4, 78)


def test_a_list_without_items_is_a_problem():
    assert "expected a known kind" in problems_of("apiVersion: v1\nkind: ServiceList\n")[0].expected
    assert [*flatten({"kind": "List", "items": ()}, HERE)] == []


def test_empty_documents_are_no_documents():
    assert read("---\n---\n# nothing\n") == ([], [])


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("{kind: A, metadata: {name: b}}", "A default/b"),
        ("{kind: A, metadata: {name: b, namespace: c}}", "A c/b"),
        ("{kind: A, metadata: 1}", "A"),
        ("{kind: 1}", ""),
        ("[]", ""),
    ],
)
def test_title_is_as_far_as_the_data_says(text, title):
    assert title_of(parse(text.encode(), FILE)[0][0].data) == title


def test_model_for_knows_kind_and_version():
    assert model_for({"kind": "Service", "apiVersion": "v1"}, HERE, FILE) == (Service, None)
    model, problem = model_for({"kind": "Service", "apiVersion": "v3"}, HERE, FILE)
    assert model is None
    assert problem is not None
    assert problem.expected == "expected 'v1'"


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path):
    texts, problems = read_file(tmp_path)
    assert texts == []
    assert "cannot be read" in problems[0].expected


def test_document_speaks_of_its_place():
    found = document("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: 80\n")
    assert found.where(("spec", "ports", 0, "port")) == (FILE, 6, 11)
    assert found.where(("spec", "ports", 0, "port"), key=True) == (FILE, 6, 5)
    assert found.where(("spec", "nothing")) == (FILE, 5, 3)
    assert repr(found) == "<Document Service default/a f.yaml:1>"
