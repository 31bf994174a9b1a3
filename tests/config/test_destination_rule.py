"""DestinationRule: hosts and subsets."""

from support.documents import document, problems_of, text_of

VERSION = "networking.istio.io/v1"


def test_subsets():
    policy = "trafficPolicy: {loadBalancer: {simple: RANDOM}}"
    spec = f"host: echo\nsubsets:\n- name: v1\n  labels: {{version: v1}}\n  {policy}\n- name: v2"
    rule = document(text_of("DestinationRule", VERSION, spec)).model
    assert [(each.name, each.labels) for each in rule.spec.subsets] == [("v1", {"version": "v1"}), ("v2", {})]


def test_hosts_and_names_are_needed():
    found = problems_of(text_of("DestinationRule", VERSION, "subsets: [{labels: {a: b}}]"))
    assert sorted(problem.field for problem in found) == ["spec.host", "spec.subsets[0].name"]


def test_older_versions_are_read():
    for version in ("v1beta1", "v1alpha3"):
        assert document(text_of("DestinationRule", f"networking.istio.io/{version}", "host: a")).model.spec.host == "a"
