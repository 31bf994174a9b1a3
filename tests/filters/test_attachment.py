"""Which policies hold where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import document

from meshd.filters.attachment import TargetIndex, of_service, of_workload, title
from meshd.filters.base import Scope

SCOPE = Scope("shop", {"app": "web", "tier": "front"}, 8080)


def policy(attached, name="p", namespace="shop"):
    return document(f"""
apiVersion: meshd.dev/v1alpha1
kind: FaultPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{attached}, rules: [{{abort: {{status: 503}}}}]}}
""").model


@pytest.mark.parametrize(
    ("attached", "namespace", "expected"),
    [
        ("selector: {}", "shop", True),
        ("selector: {}", "other", False),
        ("selector: {matchLabels: {app: web}}", "shop", True),
        ("selector: {matchLabels: {app: web, tier: back}}", "shop", False),
        ("targetRefs: [{name: web}]", "shop", False),
    ],
)
def test_a_workload_is_selected_in_its_namespace(attached, namespace, expected):
    made = policy(attached, namespace=namespace)
    assert of_workload([made], SCOPE) == ([made] if expected else [])


@pytest.mark.parametrize(
    ("target", "namespace", "expected"),
    [
        ("{name: web}", "shop", True),
        ("{name: web, port: 80}", "shop", True),
        ("{name: web, port: 81}", "shop", False),
        ("{name: web}", "other", False),
        ("{name: web, namespace: shop}", "other", True),
        ("{name: other}", "shop", False),
        ("{name: web, kind: ServiceEntry}", "shop", False),
        ("{name: other}, {name: web}", "shop", True),
    ],
)
def test_a_service_is_named(target, namespace, expected):
    made = policy(f"targetRefs: [{target}]", namespace=namespace)
    assert of_service([made], "Service", "shop", "web", 80) == ([made] if expected else [])


def test_a_policy_without_targets_holds_for_no_service():
    assert of_service([policy("selector: {}")], "Service", "shop", "web", 80) == []


def test_several_stand_in_the_order_of_their_names():
    made = [policy("selector: {}", name) for name in ("c", "a", "b")]
    assert [title(each) for each in of_workload(made, SCOPE)] == ["shop/a", "shop/b", "shop/c"]
    made = [policy("targetRefs: [{name: web}]", name) for name in ("c", "a")]
    assert [title(each) for each in of_service(made, "Service", "shop", "web", 80)] == ["shop/a", "shop/c"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["shop", "other"]),
            st.lists(
                st.sampled_from(["{name: web}", "{name: web, port: 80}", "{name: a}", "{name: web, namespace: shop}"]),
                min_size=1,
                max_size=3,
                unique=True,
            ),
        ),
        max_size=5,
    )
)
def test_the_index_loses_no_policy_and_keeps_their_order(given_policies):
    made = [
        policy(f"targetRefs: [{', '.join(refs)}]", f"p{place}", namespace)
        for place, (namespace, refs) in enumerate(given_policies)
    ]
    index = TargetIndex(made)
    for name in ("web", "a", "none"):
        there = index.find("Service", "shop", name)
        assert of_service(there, "Service", "shop", name, 80) == of_service(made, "Service", "shop", name, 80)
        assert list(there) == [each for each in made if each in there]  # each once, as they came
    assert index.find("ServiceEntry", "shop", "web") == ()
