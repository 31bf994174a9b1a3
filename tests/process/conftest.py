"""A small sidecar on disk, read by the real source."""

import time

import pytest

from meshd.identity.ca import Authority, Order
from meshd.identity.spiffe import SpiffeId
from meshd.process.source import Source

BOOTSTRAP = """
apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: orders}
spec:
  drain: 2s
  admin: {listen: "127.0.0.1:0"}
  telemetry: null
  inbound: [{listen: "127.0.0.1:0", app: "127.0.0.1:9"}]
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
spec: {action: ALLOW, rules: [{}]}
"""


class Folder:
    """Bootstrap, policies and, if asked for, certificates."""

    def __init__(self, path):
        self.path = path
        self.file = path / "proxy.yaml"
        self.policies = path / "policies"
        self.policies.mkdir()
        self.compiled = []
        self.refuse = None
        self.bootstrap()
        self.policy("plain", PLAIN)
        self.policy("allow", ALLOW)

    def bootstrap(self, more=""):
        self.file.write_text(BOOTSTRAP + more)

    def policy(self, name, text):
        (self.policies / f"{name}.yaml").write_text(text)

    def certify(self, account="orders"):
        """Certificates for an account, and a bootstrap that names them."""
        name = SpiffeId.parse(f"spiffe://cluster.local/ns/default/sa/{account}")
        if not (self.path / "ca").exists():
            self.authority = Authority.create(self.path / "ca", "cluster.local", time.time())
        self.authority.issue(Order(name, self.path / "certs"), time.time(), force=True)
        self.bootstrap("  identity: {certificates: certs}\n")

    def compiles(self, accepted):
        self.compiled.append(accepted.generation)
        if self.refuse is not None:
            raise self.refuse

    def source(self, **overrides):
        return Source(self.file, overrides, self.compiles)

    def accepted(self):
        source = self.source()
        return source.read_all(source.read_proxy(), 1)


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path)
    yield folder
    if (authority := getattr(folder, "authority", None)) is not None:
        authority.__exit__(None, None, None)
