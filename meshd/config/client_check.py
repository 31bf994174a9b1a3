"""Authorization by the client's address, where nobody said which proxies may tell it."""

from collections.abc import Iterator
from typing import Final

from meshd.config.bootstrap import LoadedProxy
from meshd.config.documents import Documents
from meshd.config.errors import Path, Problem
from meshd.config.route_check import warning

_FIELDS: Final = (("remote_ip_blocks", "remoteIpBlocks"), ("not_remote_ip_blocks", "notRemoteIpBlocks"))
EXPECTED: Final = (
    "the Proxy does not set numTrustedProxies, so every address in X-Forwarded-For may be the client's: "
    "one is enough to deny, all are needed to allow"
)
REMEDY: Final = (
    "set spec.numTrustedProxies of the Proxy to the number of proxies in front of it, 0 for none; "
    "for the address of the connection use ipBlocks"
)


def check_clients(documents: Documents, loaded: LoadedProxy | None) -> Iterator[Problem]:
    """Every place that asks for the client's address, unless the bootstrap says whom to believe."""
    if loaded is not None and loaded.proxy.spec.num_trusted_proxies is not None:
        return
    for policy in documents.authorization_policies:
        for place, rule in enumerate(policy.model.spec.rules):
            at: Path = ("spec", "rules", place)
            for number, each in enumerate(rule.from_):
                for name, field in _FIELDS:
                    if getattr(each.source, name):
                        yield warning(policy, (*at, "from", number, "source", field), EXPECTED, REMEDY)
            for number, condition in enumerate(rule.when):
                if condition.key == "remote.ip":
                    yield warning(policy, (*at, "when", number, "key"), EXPECTED, REMEDY)
