"""Fixtures of end-to-end tests: real sidecars between real programs."""

import json
import textwrap
import time
from pathlib import Path

import pytest
from support.policy_pair import running_pair
from support.processes import Sidecar

from meshd.identity.ca import Authority, Order
from meshd.identity.spiffe import SpiffeId

TRUST_DOMAIN = "mesh.test"


class Mesh:
    """A folder with a CA, documents and the sidecars that run on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policies = folder / "policies"
        self.policies.mkdir()
        self.sidecars: list[Sidecar] = []
        self._authority: Authority | None = None

    @property
    def authority(self) -> Authority:
        if self._authority is None:
            self._authority = Authority.create(self.folder / "ca", TRUST_DOMAIN, time.time())
        return self._authority

    def identity(self, name: str, namespace: str = "default", **order) -> Path:
        """A folder of credentials for `name`."""
        folder = self.folder / f"id-{name}"
        if not folder.exists():
            spiffe_id = SpiffeId.parse(f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{name}")
            self.authority.issue(Order(spiffe_id, folder, **order), time.time())
        return folder

    def policy(self, name: str, text: str) -> Path:
        """Write, or replace, one document."""
        path = self.policies / f"{name}.yaml"
        fresh = path.with_suffix(".new")
        fresh.write_text(textwrap.dedent(text))
        fresh.rename(path)
        return path

    def entry(self, name: str, *addresses: str, mesh: bool = False, account: str = "", protocol: str = "HTTP") -> Path:
        """A ServiceEntry of static endpoints on port 80 of host `name`."""
        endpoints = []
        for address in addresses:
            host, _, port = address.rpartition(":")
            endpoint = {"address": host, "ports": {"main": int(port)}}
            if account:
                endpoint["serviceAccount"] = account
            endpoints.append(endpoint)
        document = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": name.replace(".", "-"), "namespace": "default"},
            "spec": {
                "hosts": [name],
                "location": "MESH_INTERNAL" if mesh else "MESH_EXTERNAL",
                "resolution": "STATIC",
                "ports": [{"number": 80, "name": "main", "protocol": protocol}],
                "endpoints": endpoints,
            },
        }
        return self.policy(f"entry-{name}", json.dumps(document))

    def document(self, name: str, *, namespace: str = "default", **spec) -> Path:
        """A Proxy document, with an identity of its own. Telemetry and the admin port are off or free unless given."""
        spec.setdefault("policies", [str(self.policies)])
        spec.setdefault("identity", self.account(name, namespace))
        spec.setdefault("telemetry", None)
        spec.setdefault("admin", {"listen": "127.0.0.1:0"})
        body = {
            "apiVersion": "meshd.dev/v1alpha1",
            "kind": "Proxy",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": spec,
        }
        path = self.folder / f"{name}.proxy.yaml"
        path.write_text(json.dumps(body))
        return path

    def start(self, name: str, *arguments: str, **spec) -> Sidecar:
        """A sidecar that may not be ready yet."""
        sidecar = Sidecar(self.document(name, **spec), *arguments)
        self.sidecars.append(sidecar)
        return sidecar

    def run(self, name: str, *arguments: str, **spec) -> Sidecar:
        """A running sidecar, ready."""
        return self.start(name, *arguments, **spec).wait_ready()

    def account(self, name: str, namespace: str = "default") -> dict[str, str]:
        """The identity part of a Proxy document."""
        certificates = str(self.identity(name, namespace))
        return {"trustDomain": TRUST_DOMAIN, "serviceAccount": name, "certificates": certificates}

    def close(self) -> None:
        for sidecar in self.sidecars:
            sidecar.stop()
        if self._authority is not None:
            self._authority.__exit__(None, None, None)


@pytest.fixture
def mesh(tmp_path):
    made = Mesh(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_mesh(tmp_path_factory):
    """One mesh for all tests of a module that only send it requests."""
    made = Mesh(tmp_path_factory.mktemp("mesh"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(request, shared_mesh, tmp_path_factory):
    """A pair of sidecars under the POLICIES of the module that asks."""
    with running_pair(shared_mesh, tmp_path_factory.mktemp("log"), request.module.POLICIES) as made:
        yield made


@pytest.fixture
def pair(running):
    """The same, with apps that answer everything and have seen nothing yet."""
    return running.cleared()
