"""One address that can serve a cluster, and what we have learnt about it."""

from enum import Enum, auto


class Tls(Enum):
    """How to speak to an endpoint."""

    PLAIN = auto()
    MUTUAL = auto()


class Endpoint:
    """An address with its weight and identity; the counters are changed by `cluster.observe` and nobody else."""

    __slots__ = (
        "active",  # int: exchanges in progress
        "address",  # str: IP address, host name or unix socket path (with port 0)
        "ejected_until",  # float: monotonic seconds; in the past when in service
        "ejections",  # int: how often it was ejected in a row
        "ewma",  # float: seconds, the balancer's view of its latency
        "ewma_at",  # float: when `ewma` was brought up to date
        "failures",  # int: consecutive
        "host",  # str: the name that `address` is one of several of; empty for none
        "identities",  # frozenset[str]: SPIFFE IDs it may present, `.../*` for all below; empty for nobody
        "labels",  # dict[str, str]
        "port",  # int
        "server_name",  # str: SNI; empty for none
        "tls",  # Tls
        "weight",  # int
        "zone",  # str
    )

    def __init__(self, address: str, port: int, *, weight: int = 1, tls: Tls = Tls.PLAIN) -> None:
        self.address = address
        self.port = port
        self.weight = weight
        self.tls = tls
        self.identities: frozenset[str] = frozenset()
        self.host = ""
        self.server_name = ""
        self.labels: dict[str, str] = {}
        self.zone = ""
        self.active = 0
        self.failures = 0
        self.ejections = 0
        self.ejected_until = 0.0
        self.ewma = 0.0
        self.ewma_at = 0.0

    @property
    def name(self) -> str:
        """`address:port`, as logs and metrics call it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} {self.tls.name.lower()} {self.active} active>"
