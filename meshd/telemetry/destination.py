"""Where a cluster's requests go, in the words that dashboards use: host and port, and the service behind them."""

from functools import lru_cache
from typing import NamedTuple

DOMAIN = "svc.cluster.local"  # of Services, whatever the trust domain is


class Destination(NamedTuple):
    """What the name of a cluster says."""

    host: str  # a DNS name, an address or the path of a unix socket; empty when there is no cluster
    port: int  # 0 for none
    service: str  # the name of the Service, or the host of a ServiceEntry; empty for an app
    namespace: str  # of the Service; empty where the name does not say


@lru_cache(maxsize=4096)
def destination_of(cluster: str) -> Destination:
    """Read `namespace/service:port`, `host:port` or `app:host:port`, a subset left away."""
    is_app = cluster.startswith("app:")
    if is_app:
        cluster = cluster.removeprefix("app:")
    if cluster.startswith("/") or not cluster:
        return Destination(cluster, 0, "", "")
    host, _, rest = cluster.rpartition(":")
    port = rest.partition("/")[0]
    number = int(port) if port.isascii() and port.isdigit() else 0
    namespace, slash, name = host.partition("/")
    if slash:
        return Destination(f"{name}.{namespace}.{DOMAIN}", number, name, namespace)
    return Destination(host.strip("[]"), number, "" if is_app else host, "")
