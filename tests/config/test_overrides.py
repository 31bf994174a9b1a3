"""Settings from the environment and from flags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.config.overrides import Override, _names, apply, from_environment, from_flags, value_of
from meshd.config.proxy import ProxySpec


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("MESHD_NAME", ("metadata", "name")),
        ("MESHD_NAMESPACE", ("metadata", "namespace")),
        ("MESHD_WORKERS", ("spec", "workers")),
        ("MESHD_IDENTITY_TRUST_DOMAIN", ("spec", "identity", "trustDomain")),
        ("MESHD_TELEMETRY_ACCESS_LOG_PATH", ("spec", "telemetry", "accessLog", "path")),
        ("MESHD_INBOUND_0_APP", ("spec", "inbound", 0, "app")),
        ("MESHD_INBOUND", ("spec", "inbound")),
        ("MESHD_POLICIES_1", ("spec", "policies", 1)),
        ("MESHD_ADMIN", ("spec", "admin")),
    ],
)
def test_variables_name_fields(name, path):
    assert from_environment({name: "x"}) == ([Override(path, "x", f"env {name}")], [])


@given(st.sampled_from(_names(ProxySpec)))
def test_every_field_has_a_variable(name):
    [found], strange = from_environment({f"MESHD_{name}": "x"})
    assert strange == []
    assert found.path[0] == "spec"


@pytest.mark.parametrize(
    "name",
    ["MESHD_PORT", "MESHD_SERVICE_HOST", "MESHD_SERVICE_PORT_HTTP", "MESHD_PORT_80_TCP_ADDR", "MESHD_CA_SERVICE_PORT"],
)
def test_variables_of_a_cluster_are_left_alone(name):
    assert from_environment({name: "10.0.0.1"}) == ([], [])


def test_a_variable_that_names_nothing_is_told():
    found, [sentence] = from_environment({"MESHD_WORKRES": "1", "OTHER": "2"})
    assert found == []
    assert "did you mean 'MESHD_WORKERS'?" in sentence
    assert from_environment({"MESHD_ZZZZZZ": "1"})[1] == ["MESHD_ZZZZZZ names no field of a Proxy"]


def test_flags_name_fields_in_short_or_whole():
    found = from_flags({"workers": "1", "spec.inbound[0].app": "a:1", "metadata.name": "b"})
    assert [each.path for each in found] == [("spec", "workers"), ("spec", "inbound", 0, "app"), ("metadata", "name")]
    assert found[0].source == "flag spec.workers"


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        (("spec", "workers"), "2", 2),
        (("spec", "workers"), "auto", "auto"),
        (("metadata", "name"), "7", "7"),
        (("spec", "identity", "trustDomain"), "true", "true"),
        (("spec", "admin"), "null", None),
        (("spec", "policies"), "a, b", ("a", "b")),
        (("spec", "policies"), "[a]", ("a",)),
        (("spec", "telemetry", "sampling"), "0.5", 0.5),
        (("spec", "inbound"), "[{listen: 'a:1', app: 'b:2'}]", ({"listen": "a:1", "app": "b:2"},)),
        (("spec", "telemetry", "sampling"), "[", "["),
    ],
)
def test_values_are_read_as_the_field_wants(path, text, value):
    assert value_of(Override(path, text, "flag")) == value


def test_apply_makes_what_is_missing_and_changes_nothing_else():
    data = {"spec": {"inbound": ({"listen": "a:1"},)}, "kind": "Proxy"}
    changed = apply(data, Override(("spec", "inbound", 0, "listen"), "b:1", ""))
    assert changed == {"spec": {"inbound": ({"listen": "b:1"},)}, "kind": "Proxy"}
    assert data["spec"]["inbound"][0]["listen"] == "a:1"
    assert apply(None, Override(("spec", "inbound", 5, "listen"), "b:1", "")) == {
        "spec": {"inbound": ({"listen": "b:1"},)}
    }
