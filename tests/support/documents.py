"""Documents from text, without files: for tests that need a model, or the problems of one."""

from meshd.config.documents import Document
from meshd.config.errors import ConfigError, Problem
from meshd.config.model import Resource
from meshd.config.reader import read_document
from meshd.config.yaml_file import parse

FILE = "f.yaml"


def read(text: str) -> tuple[list[Document[Resource]], list[Problem]]:
    """What a file of this text holds, and what is wrong with it."""
    texts, problems = parse(text.encode(), FILE)
    documents = []
    for each in texts:
        entries, trouble = read_document(each, FILE)
        documents += [document for document, _ in entries]
        problems += trouble
    return documents, problems


def problems_of(text: str) -> list[Problem]:
    """What is wrong with a text."""
    return read(text)[1]


def document(text: str) -> Document[Resource]:
    """The one document of a text, which must be without problems."""
    documents, problems = read(text)
    if problems:
        raise ConfigError(problems)
    assert len(documents) == 1
    return documents[0]


def text_of(kind: str, version: str, spec: str) -> str:
    """A document named ns/name around a spec, which is indented here. The spec begins in line 5."""
    indented = "".join(f"  {line}\n" for line in spec.strip("\n").splitlines())
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: name, namespace: ns}}\nspec:\n{indented}"
