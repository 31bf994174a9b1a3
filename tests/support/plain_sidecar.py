"""A sidecar without TLS, one listener before an app, started with descriptors and limits of a test's choice."""

import re
import signal
import socket
import subprocess

from support.processes import meshd, until

PROXY = """
apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: svc}
spec:
  drain: 2s
  inbound: [{listen: "127.0.0.1:0", app: "127.0.0.1:9"}]
  admin: {listen: "127.0.0.1:0"}
  telemetry: null
---
"""
PLAIN = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain}
spec: {mtls: {mode: DISABLE}}
"""
ALLOW = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all}
spec: {rules: [{}]}
"""
# A client of HTTP/2 whose connection we end, which causes a line of the log.
OFFENCE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 40


class PlainSidecar:
    """`meshd run` with a standard error of our choice. `spec`: lines of the Proxy document's spec, after the others."""

    def __init__(self, folder, stderr, prefix=(), app="127.0.0.1:9", spec="", telemetry="null"):
        (folder / "policies").mkdir()
        (folder / "policies" / "all.yaml").write_text(PLAIN + "---" + ALLOW)
        document = PROXY.removesuffix("---\n").replace("127.0.0.1:9", app)
        if telemetry is None:  # it is in `spec`
            document = document.replace("  telemetry: null\n", "")
        (folder / "proxy.yaml").write_text(document + "".join(f"  {line}\n" for line in spec.splitlines()))
        self._ready = folder / "ready.json"
        argv = [*prefix, *meshd(), "run", "-f", str(folder / "proxy.yaml"), "--ready-file", str(self._ready)]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        until(self._ready.exists, 60, "readiness")
        text = self._ready.read_text()
        self.port = int(re.search(r'"name": "inbound-0".*?"address": "127.0.0.1:(\d+)"', text, re.DOTALL)[1])
        self.admin = int(re.search(r'"admin": "127.0.0.1:(\d+)"', text)[1])

    def _exchange(self, port, octets):
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(octets)
            client.settimeout(20)
            found = b""
            while piece := client.recv(65536):
                found += piece
            return found

    def ask(self):
        """The status line's number; the app is not there, so 502 or 503 says that the sidecar is."""
        return self._exchange(self.port, b"GET / HTTP/1.1\r\nHost: svc\r\nConnection: close\r\n\r\n")[9:12]

    def offend(self):
        return self._exchange(self.port, OFFENCE)

    def page(self, method, path):
        return self._exchange(
            self.admin, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )

    def metric(self, name):
        page = self.page("GET", "/metrics").decode()
        return sum(float(value) for value in re.findall(rf"^{name}{{[^}}]*}} (\S+)$", page, re.MULTILINE))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)
