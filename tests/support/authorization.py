"""Authorization policies from short notes, and those they are about."""

from meshd.config.authorization import AuthorizationPolicy
from meshd.core.peer import Peer
from meshd.filters.base import Scope

SCOPE = Scope("foo", {"app": "web"}, 8080, "td", ("old-td",))


def policy(*rules, action="ALLOW", name="p", namespace="foo", annotations=None, **spec):
    """A policy of these rules; without any it matches nothing."""
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
        "spec": {"action": action, "rules": list(rules)} | spec,
    }
    return AuthorizationPolicy.model_validate(document)


def rule(source=None, operation=None, when=()):
    """A rule of one source and one operation."""
    document = {}
    if source is not None:
        document["from"] = [{"source": source}]
    if operation is not None:
        document["to"] = [{"operation": operation}]
    if when:
        document["when"] = list(when)
    return document


def peer(namespace="a", account="web", domain="td", address="10.0.0.1", **more):
    """A peer that proved who it is."""
    return Peer(
        address,
        principal=f"{domain}/ns/{namespace}/sa/{account}".encode(),
        namespace=namespace.encode(),
        service_account=account.encode(),
        trust_domain=domain.encode(),
        **more,
    )


STRANGER = Peer("192.0.2.1", local_address="10.9.9.9", local_port=8080)
