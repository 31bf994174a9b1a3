"""Which callers a listener takes: with mutual TLS only, without as well, or without.

The narrowest PeerAuthentication wins, as istio/api security/v1beta1/peer_authentication.proto says: a port of the
workload, the workload, its namespace, the mesh (the root namespace). Where all are silent, meshd is STRICT.
"""

from collections.abc import Iterable, Mapping

from meshd.config.peer_authentication import PeerAuthentication

DEFAULT = "STRICT"


def mode_for(
    policies: Iterable[PeerAuthentication], namespace: str, labels: Mapping[str, str], root_namespace: str, port: int
) -> str:
    """DISABLE, PERMISSIVE or STRICT for one port of the workload."""
    by_scope: list[list[PeerAuthentication]] = [[], [], []]  # workload, namespace, mesh
    for policy in policies:
        selector = policy.spec.selector
        wanted = selector.match_labels if selector is not None else {}
        if wanted and policy.namespace == namespace and wanted.items() <= labels.items():
            by_scope[0].append(policy)
        elif not wanted and policy.namespace == namespace:
            by_scope[1].append(policy)
        elif not wanted and policy.namespace == root_namespace:
            by_scope[2].append(policy)
    for policy in _oldest_first(by_scope[0]):
        at_port = policy.spec.port_level_mtls.get(str(port))
        if at_port is not None and at_port.mode != "UNSET":
            return at_port.mode
    for scope in by_scope:
        for policy in _oldest_first(scope):
            if policy.spec.mtls.mode != "UNSET":
                return policy.spec.mtls.mode
    return DEFAULT


def _oldest_first(policies: list[PeerAuthentication]) -> list[PeerAuthentication]:
    """Of several with one scope the oldest counts, as in Istio."""
    return sorted(policies, key=lambda policy: (policy.metadata.creation_timestamp or "", policy.name))
