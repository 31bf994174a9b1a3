"""Two sidecars that every mTLS case is put to, and how its outcome is read."""

import contextlib
import re
import ssl
from collections import Counter

from support.mtls_rows import Maker
from support.origin import Origin
from support.processes import until
from support.shared import cases
from support.tls_peer import TlsPeer
from support.wire import RawClient

ROWS = {row["id"]: row for row in cases("mtls.jsonl")}
REQUEST = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n"
SERVER = "spiffe://mesh.test/ns/a/sa/server"
CLOSE_DELIMITED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it"

RULES = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: by-name, namespace: default}
    spec:
      action: DENY
      rules:
        - from: [{source: {principals: ["mesh.test/ns/a/sa/client"]}}]
          to: [{operation: {paths: ["/not-for-the-client"]}}]
        - from: [{source: {principals: ["*"]}}]
          to: [{operation: {paths: ["/not-for-anybody-with-a-name"]}}]
"""
PERMISSIVE = """
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: mode, namespace: default}
    spec:
      selector: {matchLabels: {app: server}}
      mtls: {mode: STRICT}
      portLevelMtls: {"%d": {mode: PERMISSIVE}}
"""


class Rig:
    """Two sidecars that trust the roots of all rows. One of them asks for revocation lists."""

    def __init__(self, mesh, stack) -> None:
        self.maker = Maker(mesh.folder / "rows")
        self.material = {name: self.maker.make(row) for name, row in ROWS.items()}
        self.mesh = mesh
        self.origin = stack.enter_context(Origin())
        self.open_origin = stack.enter_context(Origin())
        self.peers = {name: stack.enter_context(self._peer(row)) for name, row in ROWS.items() if is_server(row)}
        for name, peer in self.peers.items():
            self._entry(name, peer.address)
        mesh.policy("rules", RULES)
        mesh.policy("permissive", PERMISSIVE % self.open_origin.port)
        self._trust("server", with_lists=False)
        self._trust("checked", with_lists=True)
        inbound = [{"listen": "127.0.0.1:0", "app": each.address} for each in (self.origin, self.open_origin)]
        self.server = mesh.run("server", inbound=inbound, outbound=[{"listen": "127.0.0.1:0"}])
        self.checked = mesh.run("checked", inbound=inbound[:1])

    def _peer(self, row) -> TlsPeer:
        if row["tls"].get("plaintext"):
            return TlsPeer(None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if row["id"] == "mtls-close-no-notify":
            return TlsPeer(self.material["mtls-srv-ok"].show(context), CLOSE_DELIMITED, breaks_off=True)
        return TlsPeer(self.material[row["id"]].show(context))

    def _entry(self, name, address) -> None:
        path = self.mesh.entry(f"{name}.test", address, mesh=True)
        text = path.read_text().replace('"resolution"', f'"subjectAltNames": ["{SERVER}"], "resolution"')
        path.write_text(text)

    def _trust(self, name, *, with_lists) -> None:
        folder = self.mesh.identity(name)
        with (folder / "ca.crt").open("ab") as roots:
            for material in self.material.values():
                roots.write(material.roots)
        lists = b"".join(material.crl for material in self.material.values())
        if with_lists:
            (folder / "crl.pem").write_bytes(lists)
        else:
            (folder / "crl.pem").unlink()

    def context(self, name) -> ssl.SSLContext:
        """A client with the certificates of a row."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.mesh.identity("server") / "ca.crt")
        return self.material[name].show(context)

    def ask(self, sidecar, context, request=REQUEST, listener="inbound-0", sni=None) -> bytes:
        """What a client gets to hear, all of it or until it ends in the app's answer."""

        def wrap(sock):
            return context.wrap_socket(sock, server_hostname=sni) if context is not None else sock

        with contextlib.suppress(OSError), RawClient(sidecar.address(listener), wrap) as client:
            client.send(request)
            client.read_until(lambda: client.closed or b"\r\n\r\n" in client.received, 10)
            return client.received
        return b""

    def refusals(self, sidecar) -> Counter[str]:
        """How many connections were refused so far, by reason."""
        with RawClient(sidecar.address("admin")) as client:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.read_until(lambda: client.closed, 30)
        found = Counter()
        for line in client.received.decode().splitlines():
            if line.startswith("meshd_connections_refused_total{"):
                found[re.search(r'error_type="([^"]*)"', line)[1]] += int(float(line.rpartition(" ")[2]))
        return found

    def refusals_since(self, sidecar, before) -> Counter[str]:
        """Those since `before`, at least one; the stalled ones do not count."""

        def new():
            found = self.refusals(sidecar) - before
            del found["timeout"]
            return found

        return until(new, 60, "a refused connection that is counted")


def is_server(row) -> bool:
    return row["side"] == "server" or row["id"] == "mtls-close-no-notify"


def refused(rig, ask, sidecar=None) -> str:
    """The reason why `ask` is refused; fails unless it is."""
    sidecar = sidecar or rig.server
    rig.origin.take()
    before = rig.refusals(sidecar)
    got = ask()
    assert b"200" not in got
    assert not rig.origin.take()
    found = rig.refusals_since(sidecar, before)
    assert found.total() == 1, found
    return next(iter(found))


def served(rig, got) -> None:
    assert got.endswith(b"\r\n\r\nok"), got
    assert rig.origin.take()[-1].complete
