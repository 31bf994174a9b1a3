"""What all models share."""

import pytest
from pydantic import ValidationError

from meshd.config.documents import KINDS
from meshd.config.http_route import HTTPRoute
from meshd.config.model import Metadata, Model, exclusive, repeats


class Pair(Model):
    a_b: int = 0
    c: int = 0


def test_fields_have_the_names_of_documents():
    assert Pair.model_validate({"aB": 1}).a_b == 1
    with pytest.raises(ValidationError):
        Pair.model_validate({"a_b": 1})


@pytest.mark.parametrize("value", ["1", 1.0, True, None, [1]])
def test_nothing_is_coerced(value):
    with pytest.raises(ValidationError):
        Pair.model_validate({"c": value})


def test_models_are_frozen_and_know_what_was_set():
    pair = Pair.model_validate({"c": 0})
    assert pair.has("c")
    assert not pair.has("a_b")
    with pytest.raises(ValidationError):
        pair.c = 2


def test_repeats_names_each_place_but_the_first():
    assert [fault.at for fault in repeats(("x",), ["a", "b", "a", "a"], "name")] == [("x", 2, "name"), ("x", 3, "name")]
    assert [fault.at for fault in repeats(("x",), [1, 1])] == [("x", 1)]


def test_exclusive():
    assert [*exclusive(Pair.model_validate({"c": 1}), "a_b", "c", needed=True)] == []
    assert [fault.at for fault in exclusive(Pair.model_validate({"aB": 1, "c": 1}), "a_b", "c")] == [("c",)]
    assert [fault.rule for fault in exclusive(Pair(), "a_b", "c", needed=True)] == ["missing"]


def test_metadata_tolerates_what_a_cluster_adds():
    noise = {
        "uid": "u",
        "creationTimestamp": None,
        "managedFields": ({"a": 1},),
        "ownerReferences": (),
        "generation": 3,
    }
    read = Metadata.model_validate({"name": "a", **noise})
    assert (read.name, read.namespace) == ("a", "default")


def test_resources_know_their_names():
    route = HTTPRoute.model_validate({"apiVersion": "v1", "kind": "HTTPRoute", "metadata": {"name": "a"}, "spec": {}})
    assert (route.name, route.namespace) == ("a", "default")
    assert "status" not in route.model_dump()


@pytest.mark.parametrize("model", sorted({m for versions in KINDS.values() for m in versions.values()}, key=repr))
def test_only_kinds_of_a_cluster_have_a_status(model):
    ours = model.__name__ in ("Proxy", "BackendPolicy", "RateLimitPolicy", "RequestPolicy", "FaultPolicy")
    assert ("status" in model.model_fields) is not ours
