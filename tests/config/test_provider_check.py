"""CUSTOM policies whose authorizer nobody knows are warned of, with what becomes of the requests."""

import pytest
from support.documents import text_of

from meshd.config.destinations import Destinations
from meshd.config.load import load_policies, load_proxy
from meshd.config.provider_check import DENIED, check_providers

ECHO = text_of("Service", "v1", "ports: [{name: http, port: 80}]").replace("name: name", "name: door")
SPEC = "action: CUSTOM\nprovider: {name: NAME}\nrules: [{}]"
HTTP = "{name: door, envoyExtAuthzHttp: {service: HOST, port: PORT}}"


@pytest.fixture
def found(tmp_path):
    def check(policy, *providers):
        (tmp_path / "policies.yaml").write_text(f"{ECHO}\n---\n{policy}")
        file = tmp_path / "proxy.yaml"
        spec = f"outbound: [{{listen: '127.0.0.1:0'}}]\nextensionProviders: [{', '.join(providers)}]"
        file.write_text(
            text_of("Proxy", "meshd.dev/v1alpha1", spec).replace("namespace: ns", "namespace: ns, labels: {app: a}")
        )
        documents = load_policies([tmp_path / "policies.yaml"])
        problems = list(check_providers(documents, load_proxy(file, {}, {}), Destinations.of(documents)))
        assert all(each.severity == "warning" and DENIED in each.expected for each in problems)
        return [(each.field, each.given, each.suggestion) for each in problems]

    return check


def custom(name="door", more=""):
    return text_of("AuthorizationPolicy", "security.istio.io/v1", SPEC.replace("NAME", name) + more)


def door(host="ns/door.ns.svc.cluster.local", port=80):
    return HTTP.replace("HOST", host).replace("PORT", str(port))


def test_an_authorizer_that_is_known_is_nothing_to_tell(found):
    assert found(custom(), door()) == []


def test_a_provider_that_nobody_knows_is_told_with_the_nearest(found):
    assert found(custom("dor"), door()) == [("spec.provider.name", "'dor'", "did you mean 'door'?")]
    assert found(custom()) == [("spec.provider.name", "'door'", "")]


@pytest.mark.parametrize(
    "more", ["\nselector: {matchLabels: {app: b}}", "\ntargetRefs: [{kind: Service, name: door}]", "ANNOTATED"]
)
def test_a_policy_that_is_not_enforced_here_is_left_alone(found, more):
    text = custom("nobody", more.replace("ANNOTATED", ""))
    if more == "ANNOTATED":
        text = text.replace("namespace: ns", "namespace: ns, annotations: {istio.io/dry-run: 'true'}")
    assert found(text) == []


@pytest.mark.parametrize(("host", "port"), [("nowhere.test", 80), ("door.ns.svc.cluster.local", 81)])
def test_a_provider_at_a_service_that_nobody_knows_is_told_where_it_is_used(found, host, port):
    field = "spec.extensionProviders[0].envoyExtAuthzHttp.service"
    assert [each[:2] for each in found(custom(), door(host, port))] == [(field, f"'{host}:{port}'")]
    assert found(custom("other"), door(host, port), door().replace("door,", "other,")) == []
