"""Who sends, as far as a process can know."""

import os
import socket
from uuid import UUID

import pytest
from support.conventions import wrong

from meshd.telemetry import resource
from meshd.telemetry.resource import DOWNWARD, describe_resource

POD = {"POD_NAME": "reviews-7", "POD_UID": "u-1", "POD_NAMESPACE": "shop", "NODE_NAME": "n1", "POD_IP": "10.0.0.7"}


def test_host_and_process_are_told():
    found = describe_resource({})
    assert not wrong(found)
    assert (found["host.name"], found["process.pid"]) == (socket.gethostname(), os.getpid())
    assert found["os.type"] == "linux"
    assert found["process.runtime.name"] == "cpython"
    assert not any(name.startswith("k8s.") for name in found)


def test_every_instance_has_an_id_of_its_own():
    first, second = (describe_resource({})["service.instance.id"] for _ in range(2))
    assert UUID(first) != UUID(second)


def test_a_pod_is_known_by_what_the_downward_api_says():
    found = describe_resource(POD)
    assert not wrong(found)
    assert {name: found[name] for name in found if name.startswith("k8s.")} == {
        "k8s.pod.name": "reviews-7",
        "k8s.pod.uid": "u-1",
        "k8s.pod.ip": "10.0.0.7",
        "k8s.namespace.name": "shop",
        "k8s.node.name": "n1",
    }


@pytest.mark.parametrize("variable", DOWNWARD)
def test_an_empty_variable_is_none(variable):
    assert DOWNWARD[variable] not in describe_resource({variable: ""})


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b""])
def test_no_machine_id_is_no_trouble(tmp_path, monkeypatch, content):
    path = tmp_path / "machine-id"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(resource, "MACHINE_ID", path)
    assert "host.id" not in describe_resource({})
