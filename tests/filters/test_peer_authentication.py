"""The narrowest document decides."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.config.peer_authentication import PeerAuthentication
from meshd.filters.peer_authentication import mode_for

modes = st.sampled_from(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"])


def policy(mode, namespace="shop", labels=None, ports=None, name="p"):
    spec = {"mtls": {"mode": mode}}
    if labels:
        spec["selector"] = {"matchLabels": labels}
    if ports:
        spec["portLevelMtls"] = {port: {"mode": value} for port, value in ports.items()}
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    return PeerAuthentication.model_validate(document)


def mode(*policies, port=8080):
    return mode_for(policies, "shop", {"app": "web"}, "istio-system", port)


def test_without_documents_it_is_strict():
    assert mode() == "STRICT"


@given(modes, modes, modes, modes)
def test_the_narrowest_that_says_something_wins(port, workload, namespace, mesh):
    given_modes = [port, workload, namespace, mesh]
    documents = [
        policy(mesh, "istio-system"),
        policy(namespace),
        policy(workload, labels={"app": "web"}, ports={"8080": port}),
    ]
    said = [each for each in given_modes if each != "UNSET"]
    assert mode(*documents) == (said[0] if said else "STRICT")


def test_other_workloads_ports_and_namespaces_do_not_count():
    strangers = [
        policy("DISABLE", labels={"app": "other"}),
        policy("DISABLE", "elsewhere"),
        policy("UNSET", labels={"app": "web"}, ports={"9090": "DISABLE"}),
    ]
    assert mode(*strangers) == "STRICT"


def test_of_two_with_one_scope_the_first_by_age_then_name_counts():
    assert mode(policy("DISABLE", name="b"), policy("PERMISSIVE", name="a")) == "PERMISSIVE"
