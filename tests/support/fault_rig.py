"""One sidecar in front of apps that do as they are told wrongly, and everything that can be seen from outside."""

import http.client
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from support.origin import Origin, Recorded, Reset, Wire, always_ok
from support.processes import until
from support.wire import RawClient, parse_responses


@dataclass
class Answer:
    """What became of one request, to its client."""

    status: int  # 0: no whole answer
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    received: bytes = b""  # every octet
    closed: bool = False

    @property
    def error(self) -> str:
        """The error type of Proxy-Status."""
        return self.fields.get("proxy-status", "").partition("error=")[2].partition(";")[0]


class App:
    """An app of its own service, with a behaviour for each path."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.behaviours: dict = {}
        self.origin = Origin(self._behave)
        self.origin.on_head = self._on_head
        self.host = f"{name}.test"

    def on(self, path: str, behaviour, *, head: bool = False) -> None:
        """Do this for requests to `path`: when they are whole, or as soon as their head is there."""
        self.behaviours[path, head] = behaviour

    def delivered(self, path: str, *, whole: bool = True) -> int:
        """How often a request to that path has arrived, in full unless told otherwise."""
        return sum(each.target == path and (each.complete or not whole) for each in list(self.origin.requests))

    def _behave(self, wire: Wire, request: Recorded) -> None:
        self.behaviours.get((request.target, False), always_ok)(wire, request)

    def _on_head(self, wire: Wire, request: Recorded) -> None:
        behaviour = self.behaviours.get((request.target, True))
        if behaviour is not None:
            behaviour(wire, request)


def backend_policy(name: str, **spec) -> dict:
    """A BackendPolicy for the service `name`."""
    return {
        "apiVersion": "meshd.dev/v1alpha1",
        "kind": "BackendPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"targetRefs": [{"kind": "ServiceEntry", "name": f"{name}-test"}], **spec},
    }


class FaultRig:
    """`policies`: by the name of a service, the spec of its BackendPolicy or None. Each has an app of that name, but
    for those whose endpoints are given in `elsewhere`. `spec` is more of the sidecar's own."""

    def __init__(
        self, mesh, policies: dict[str, dict | None], elsewhere: dict[str, list[str]] | None = None, **spec
    ) -> None:
        self.mesh = mesh
        self.apps: dict[str, App] = {}
        for name, policy in policies.items():
            if elsewhere is None or name not in elsewhere:
                self.apps[name] = App(name)
                mesh.entry(f"{name}.test", self.apps[name].origin.address)
            else:
                mesh.entry(f"{name}.test", *elsewhere[name])
            if policy is not None:
                mesh.policy(f"policy-{name}", json.dumps(backend_policy(name, **policy)))
        self._log = mesh.folder / "access.log"
        telemetry = {"otlp": None, "accessLog": {"path": str(self._log)}}
        self.sidecar = mesh.run("out", outbound=[{"listen": "127.0.0.1:0"}], telemetry=telemetry, **spec)
        self.address = self.sidecar.address("outbound-0")

    def close(self) -> None:
        for app in self.apps.values():
            app.origin.close()

    def connect(self) -> RawClient:
        return RawClient(self.address)

    def ask(self, service: str, path: str, method: str = "GET", body: bytes = b"", *fields: str, wait=15.0) -> Answer:
        """One request on a connection of its own."""
        with self.connect() as client:
            client.send(request_of(service, path, method, body, *fields))
            return self.read(client, method, wait)

    def read(self, client: RawClient, method: str = "GET", wait: float = 15.0) -> Answer:
        """The answer to the one request of a connection."""

        def finals():
            return [each for each in client.responses([method]) if each[0] >= 200]

        client.read_until(lambda: client.closed or finals(), wait)
        found = finals()
        unfinished = client.reset and not (found and "content-length" in found[0][1])
        if not found or unfinished:
            return Answer(0, received=client.received, closed=client.closed)
        return Answer(*found[0], received=client.received, closed=client.closed)

    def flags(self, path: str) -> str:
        """The response flags that the access log has for the one request to `path`."""

        def found():
            lines = [json.loads(line) for line in self._log.read_text().splitlines()]
            return [line["response_flags"] for line in lines if line["path"] == path]

        return until(found, 10, f"{path} in the access log")[-1]

    def cluster(self, service: str) -> dict:
        """What the worker says of a service, a second or two ago at most."""
        worker = until(lambda: json.loads(self.admin("/clusters"))["worker-0"], what="the worker tells of itself")
        return worker["clusters"][f"{service}.test:80"]

    def endpoint(self, service: str) -> dict:
        """The same of its only endpoint."""
        (found,) = self.cluster(service)["endpoints"]
        return found

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return [each["pid"] for each in json.loads(self.admin("/server_info"))["workers"]]

    def resident(self) -> int:
        """Memory of the workers, in octets."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.workers()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def admin(self, page: str) -> str:
        host, _, port = self.sidecar.address("admin").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            connection.request("GET", page)
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def request_of(service: str, path: str, method: str = "GET", body: bytes = b"", *fields: str) -> bytes:
    """A request as octets; its length is told when it has a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {service}.test", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Every whole response in these octets: status and body."""
    return [(status, body) for status, _, body in parse_responses(data, [], closed=False)]


def then(*behaviours):
    """One behaviour after the other, the last for all requests that still come."""
    left = list(behaviours)

    def behave(wire, request):
        (left.pop(0) if len(left) > 1 else left[0])(wire, request)

    return behave


def send(data, ending=None):
    """Send these octets, then break off with `ending` if there is one."""

    def behave(wire, request):
        wire.sock.sendall(data)
        if ending is not None:
            time.sleep(0.02)  # so that RST does not overtake them
            raise ending

    return behave


def reset(wire, request):
    raise Reset
