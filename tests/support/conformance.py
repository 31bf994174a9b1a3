"""What the manifests of the mesh conformance tests deploy, as documents: workloads, and where services find them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from support.shared import shared_folder

HOME = shared_folder("conformance") / "gateway-api-mesh"
EXPECTED = json.loads((HOME / "expectations.json").read_text())
BASE = [HOME / name for name in EXPECTED["base_manifests"]]
DOCUMENTS = [each for path in BASE for each in yaml.safe_load_all(path.read_text())]
SERVICES = [each for each in DOCUMENTS if each["kind"] == "Service"]
NAMESPACES = [each["metadata"]["name"] for each in DOCUMENTS if each["kind"] == "Namespace"]
APP_PORTS = {8080: "http", 7070: "grpc"}  # of the containers; TLS (8443) and raw TCP (9090) are asked for by no case


@dataclass
class Workload:
    """A Deployment that Services select, with its one pod."""

    name: str
    namespace: str
    services: list[dict]
    address: str  # of the pod: loopback, but no other pod's
    ports: dict[int, int] = field(default_factory=dict)  # where its sidecar listens, by the port of its container

    def slices(self) -> Iterator[dict]:
        """Its part of each service that selects it."""
        for service in self.services:
            ports = []
            for port in service["spec"]["ports"]:
                listens = self.ports.get(port.get("targetPort", port["port"]))
                if listens is not None:
                    ports.append({"name": port["name"], "port": listens})
            name = service["metadata"]["name"]
            yield {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-at-{self.name}",
                    "namespace": self.namespace,
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [self.address]}],
                "ports": ports,
            }

    def accounts(self) -> Iterator[dict]:
        """That the suite's services are answered by workloads whose accounts have names of their own."""
        for service in sorted({each["metadata"]["labels"]["kubernetes.io/service-name"] for each in self.slices()}):
            yield {
                "apiVersion": "meshd.dev/v1alpha1",
                "kind": "BackendPolicy",
                "metadata": {"name": f"{self.namespace}-{service}", "namespace": self.namespace},
                "spec": {"targetRefs": [{"name": service}], "tls": {"peerIdentity": "namespace"}},
            }

    def entry(self) -> dict:
        """The pod by its address alone. Nothing here catches connections that go anywhere, so a client that wants a
        pod names its address to its sidecar, which knows by this document that there is a sidecar in front of it."""
        ports = [{"number": port, "name": kind, "protocol": kind.upper()} for port, kind in APP_PORTS.items()]
        found = {APP_PORTS[port]: listens for port, listens in self.ports.items()}
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": f"pod-{self.name}", "namespace": self.namespace},
            "spec": {
                "hosts": [self.address],
                "location": "MESH_INTERNAL",
                "resolution": "STATIC",
                "ports": ports,
                "endpoints": [{"address": self.address, "ports": found, "serviceAccount": self.name}],
            },
        }


def workloads() -> list[Workload]:
    """Those that serve: a Deployment that no Service selects only calls."""
    found = []
    for each in DOCUMENTS:
        if each["kind"] != "Deployment":
            continue
        name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
        labels = each["spec"]["template"]["metadata"]["labels"].items()
        services = [
            service
            for service in SERVICES
            if service["metadata"]["namespace"] == namespace and service["spec"]["selector"].items() <= labels
        ]
        if services:
            found.append(Workload(name, namespace, services, f"127.0.1.{len(found) + 1}"))
    return found


def listeners(namespace: str) -> list[str]:
    """The service ports that cases from this namespace connect to."""
    asked = [(case.get("from", test["from"]), case["request"]) for test in EXPECTED["tests"] for case in test["cases"]]
    here = {request["to"] for client, request in asked if client["namespace"] == namespace and "to_pod" not in request}
    return sorted(here)
