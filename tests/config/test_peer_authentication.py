"""PeerAuthentication: modes and ports."""

import pytest
from support.documents import document, problems_of, text_of

VERSION = "security.istio.io/v1"
SELECTOR = "selector: {matchLabels: {app: a}}\n"


def fields(spec):
    return [problem.field for problem in problems_of(text_of("PeerAuthentication", VERSION, spec))]


def test_modes():
    policy = document(
        text_of(
            "PeerAuthentication", VERSION, SELECTOR + "mtls: {mode: STRICT}\nportLevelMtls: {8080: {mode: DISABLE}}"
        )
    )
    assert policy.model.spec.mtls.mode == "STRICT"
    assert policy.model.spec.port_level_mtls["8080"].mode == "DISABLE"


def test_nothing_said_is_unset():
    assert (
        document(f"apiVersion: {VERSION}\nkind: PeerAuthentication\nmetadata: {{name: a}}\n").model.spec.mtls.mode
        == "UNSET"
    )


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "080000"])
def test_ports_are_ports(port):
    assert fields(SELECTOR + f"portLevelMtls: {{'{port}': {{mode: STRICT}}}}") == [f"spec.portLevelMtls.{port}"]


@pytest.mark.parametrize("selector", ["", "selector: {}\n", "selector: {matchLabels: {}}\n"])
def test_ports_belong_to_a_workload(selector):
    assert fields(selector + "portLevelMtls: {80: {mode: STRICT}}") == ["spec.portLevelMtls"]


def test_an_empty_list_of_ports_is_a_mistake():
    assert fields(SELECTOR + "portLevelMtls: {}") == ["spec.portLevelMtls"]
