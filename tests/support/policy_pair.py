"""What policies add to the way of a request between two sidecars, asked of a running pair."""

import contextlib
import http.client
import json
import time
from dataclasses import dataclass

from support.origin import Origin, ok
from support.processes import until

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec: {rules: [{}]}
"""
WORKERS = 2


@dataclass
class Answer:
    """One response."""

    status: int
    fields: dict[str, str]
    body: bytes
    seconds: float


class Pair:
    """A client's sidecar and a server's before an app, and what the app saw."""

    def __init__(self, mesh, origin, shadow, folder, policies) -> None:
        self.origin = origin
        self.shadow = shadow
        self.log = folder / "access.jsonl"
        mesh.policy("allow", ALLOW)
        self.server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        mesh.entry("shadow.test", shadow.address)
        mesh.entry("two.test", origin.address, shadow.address)
        for host, documents in policies.items():
            mesh.entry(host, self.server.address("inbound-0"), mesh=True, account="server")
            mesh.policy(f"policies-{host}", documents)
        telemetry = {"accessLog": {"path": str(self.log), "format": "json"}}
        self.client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}], telemetry=telemetry, workers=WORKERS)
        self.address = self.client.address("outbound-0")

    def cleared(self) -> "Pair":
        """The same, with apps that answer everything and have seen nothing yet."""
        for app in (self.origin, self.shadow):
            app.behave = lambda wire, request: wire.sock.sendall(ok(b"" if request.method == "HEAD" else b"ok"))
            app.take()
        return self

    def call(self, host, path="/", method="GET", body=None, **headers) -> Answer:
        """One request on a connection of its own."""
        fields = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=20)) as connection:
            began = time.perf_counter()
            connection.request(method, path, body, fields)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read(), time.perf_counter() - began)

    def logged(self, path) -> dict[str, object]:
        """The access line of the request for this path."""

        def find():
            for line in self.log.read_text().splitlines():
                entry = json.loads(line)
                if path in line:
                    return entry
            return None

        return until(find, what=f"an access line about {path}")


@contextlib.contextmanager
def running_pair(mesh, folder, policies):
    """A pair of sidecars with an app, and a second one beside it; documents by the host that they are about."""
    with Origin() as origin, Origin() as shadow:
        yield Pair(mesh, origin, shadow, folder, policies)


def pieces(octets):
    """A body whose length is not said beforehand."""
    return (b"x" * 10_000 for _ in range(octets // 10_000))
