"""The workload whose sidecar it is, and the documents for it: what every part of the compiler asks."""

from dataclasses import dataclass
from random import Random

from meshd.config.documents import Documents
from meshd.config.errors import ConfigError, Problem
from meshd.config.proxy import Proxy
from meshd.destination_rules import Caller
from meshd.filters.base import Scope
from meshd.filters.buckets import Buckets
from meshd.filters.key_ring import KeyRing
from meshd.upstream.ledger import Ledger

ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True, slots=True)
class Shared:
    """What a data path keeps from generation to generation: the token buckets of rate limits and the counts of retry
    budgets, in which its siblings have a part too, and the keys of issuers elsewhere, which come and go while it
    serves."""

    buckets: Buckets
    key_ring: KeyRing
    ledger: Ledger | None = None  # None: each budget is its own


@dataclass(frozen=True, slots=True)
class Workload:
    """`random` is what chance draws from."""

    proxy: Proxy
    documents: Documents
    random: Random
    shared: Shared

    @property
    def trust_domain(self) -> str:
        """Its own; that of Kubernetes where it has no identity."""
        identity = self.proxy.spec.identity
        return identity.trust_domain if identity is not None else "cluster.local"

    @property
    def name(self) -> bytes:
        """How the sidecar calls itself."""
        metadata = self.proxy.metadata
        return f"{metadata.name}.{metadata.namespace}".encode()

    @property
    def caller(self) -> Caller:
        """It, as rules about what it calls see it."""
        metadata = self.proxy.metadata
        return Caller(metadata.namespace, metadata.labels, ROOT_NAMESPACE)

    def scope(self, port: int) -> Scope:
        """It, as policies about what comes to this port of its app see it."""
        metadata = self.proxy.metadata
        return Scope(
            namespace=metadata.namespace,
            labels=metadata.labels,
            port=port,
            trust_domain=self.trust_domain,
            root_namespace=ROOT_NAMESPACE,
            trusts_proxies=self.proxy.spec.num_trusted_proxies is not None,
        )

    def mistake(self, field: str, given: str, expected: str) -> ConfigError:
        """What is wrong with a field of the Proxy document."""
        title = f"Proxy {self.proxy.namespace}/{self.proxy.name}"
        return ConfigError([Problem("error", "value", "", 0, 0, title, field, given, expected)])
