"""PeerAuthentication: whether a workload's callers must speak mutual TLS.

Source: istio/api security/v1beta1/peer_authentication.proto and the rules of the CRD. The narrowest document wins:
workload before namespace before mesh (a document in the root namespace without a selector); UNSET inherits.
"""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from meshd.config.model import ClusterResource, Fault, Model
from meshd.config.references import WorkloadSelector

ROOT_NAMESPACE: Final = "istio-system"  # whose documents speak for the whole mesh

Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class MutualTls(Model):
    """STRICT: only mutual TLS. PERMISSIVE: plaintext as well. DISABLE: plaintext. UNSET: as the scope above says."""

    mode: Mode = "UNSET"


class PeerAuthenticationSpec(Model):
    """The mode, and exceptions by port of the workload."""

    selector: WorkloadSelector | None = None
    mtls: MutualTls = Field(default_factory=MutualTls)
    port_level_mtls: Annotated[dict[str, MutualTls], Field(min_length=1)] = Field(default_factory=dict)

    def faults(self) -> Iterator[Fault]:
        """Ports are ports, and only a selected workload has them."""
        if self.has("port_level_mtls") and not (self.selector and self.selector.match_labels):
            yield Fault(("portLevelMtls",), "ports belong to a workload: needs a selector with matchLabels")
        for port in self.port_level_mtls:
            if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
                yield Fault(("portLevelMtls", port), "expected a port from 1 to 65535")


class PeerAuthentication(ClusterResource):
    """The mTLS mode of workloads."""

    spec: PeerAuthenticationSpec = Field(default_factory=PeerAuthenticationSpec)
