"""Parents, backends, targets and selectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.config.references import (
    BackendRef,
    ParentRef,
    PolicyTargetRef,
    ServiceTarget,
    WorkloadSelector,
    parent_faults,
)


def parents(*refs):
    return [fault.at for fault in parent_faults([ParentRef.model_validate({"name": "a", **ref}) for ref in refs])]


def test_the_default_parent_is_a_gateway():
    assert ParentRef.model_validate({"name": "a"}).kind == "Gateway"
    assert ParentRef.model_validate({"name": "a", "group": "", "kind": "Service"}).is_service
    assert ParentRef.model_validate(
        {"name": "a", "group": "networking.istio.io", "kind": "ServiceEntry"}
    ).is_service_entry


@pytest.mark.parametrize(
    ("refs", "places"),
    [
        ([{}], []),
        ([{}, {"name": "b"}], []),
        ([{}, {"namespace": "b"}], []),
        ([{"port": 1}, {"port": 2}], []),
        ([{"port": 1}, {"port": 1}], [("parentRefs", 1)]),
        ([{}, {}], [("parentRefs", 1)]),
        ([{}, {"port": 1}], [("parentRefs", 1)]),
        ([{"port": 1}, {"sectionName": "a"}], [("parentRefs", 1)]),
        ([{"port": 1, "sectionName": "a"}, {"port": 1, "sectionName": "b"}], []),
    ],
)
def test_references_to_one_parent_are_told_apart(refs, places):
    assert parents(*refs) == places


def naive(refs):
    """The two CEL rules of the CRD, word for word: x must hold for every pair, and each must exist once."""
    parts = [(ref.get("sectionName"), ref.get("port")) for ref in refs]
    same = all((a[0] is None) == (b[0] is None) and (a[1] is None) == (b[1] is None) for a in parts for b in parts)
    return same and len(set(parts)) == len(parts)


ref = st.fixed_dictionaries({}, optional={"port": st.integers(1, 2), "sectionName": st.sampled_from(["a", "b"])})


@given(st.lists(ref, max_size=4))
def test_references_agree_with_the_rules_of_the_crd(refs):
    assert (parents(*refs) == []) == naive(refs)


def test_a_service_needs_a_port():
    assert [fault.at for fault in BackendRef.model_validate({"name": "a"}).faults()] == [("port",)]
    assert [*BackendRef.model_validate({"name": "a", "group": "b", "kind": "C"}).faults()] == []


def test_policies_stay_in_their_namespace():
    assert [*PolicyTargetRef.model_validate({"kind": "Service", "name": "a", "namespace": ""}).faults()] == []
    assert [
        fault.at for fault in PolicyTargetRef.model_validate({"kind": "A", "name": "a", "namespace": "b"}).faults()
    ] == [("namespace",)]


def test_the_group_of_a_target_is_its_kinds_own():
    assert [*ServiceTarget.model_validate({"name": "a", "group": ""}).faults()] == []
    assert [fault.at for fault in ServiceTarget.model_validate({"name": "a", "group": "x"}).faults()] == [("group",)]
    assert [*ServiceTarget.model_validate({"name": "a", "kind": "ServiceEntry"}).faults()] == []


@pytest.mark.parametrize("labels", [{"*": "a"}, {"": "a"}, {"a": "b*"}, {"a": "b" * 64}])
def test_selectors_match_exactly(labels):
    assert len([*WorkloadSelector.model_validate({"matchLabels": labels}).faults()]) == 1


def test_a_selector_selects():
    selector = WorkloadSelector.model_validate({"matchLabels": {"a": "b"}})
    assert selector.selects({"a": "b", "c": "d"})
    assert not selector.selects({"a": "c"})
    assert WorkloadSelector().selects({})
