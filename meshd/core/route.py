"""A compiled route: what happens to the requests that match it. Built at load, frozen, shared by all exchanges."""

from dataclasses import dataclass, field

from meshd.core.chain import EMPTY_CHAIN, Chain


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When an attempt may be followed by another. The decision itself is `upstream/retry.py`."""

    attempts: int = 1  # retries after the first try
    any_method: frozenset[str] = frozenset({"connect-failure", "refused-stream", "reset-before-request"})
    safe_only: frozenset[str] = frozenset({"reset", "gateway-error", "unavailable"})
    codes: frozenset[int] = frozenset()  # retriable-status-codes; safe methods only
    headers: frozenset[bytes] = frozenset()  # retriable-headers: response fields by lower-case name; safe methods only
    backoff_min: float = 0.0  # seconds
    backoff_base: float = 0.025
    backoff_max: float = 0.25
    resets: tuple[tuple[bytes, bool], ...] = ()  # response fields that say when to come back; True: as a time of day
    reset_max: float = 300.0  # seconds; what asks for more is passed over
    buffer: int = 65536  # octets of body kept for sending again
    safe_methods: frozenset[bytes] = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


NO_RETRY = RetryPolicy(attempts=0)
# Toward our own app, of callers with a sidecar: what never reached the app. All else is that sidecar's to try again, by
# its own policy and perhaps elsewhere; if both did, an app in trouble would be asked four times for one request.
PEER_RETRY = RetryPolicy(safe_only=frozenset(), safe_methods=frozenset())
STREAM_IDLE = 300.0  # seconds without a byte either way, as Envoy's stream_idle_timeout


def idle_limit(*limits: float | None) -> float:
    """How long an exchange under these limits may be silent: whoever allows it ten minutes has no use for five."""
    return max(STREAM_IDLE, *(limit or 0.0 for limit in limits))


@dataclass(frozen=True, slots=True)
class Target:
    """One side of a split: a cluster by name, and what is done only to requests that go there."""

    cluster: str  # key into the snapshot's clusters; empty = invalid backend, answered with 500
    weight: int = 1
    chain: Chain = EMPTY_CHAIN


@dataclass(frozen=True, slots=True)
class Route:
    """Where matching requests go and what is done to them on the way."""

    name: str  # kind/namespace/name/rule index
    template: str = ""  # the path as the route writes it, for spans and metrics; never a raw path
    targets: tuple[Target, ...] = ()
    total_weight: int = 0
    chain: Chain = EMPTY_CHAIN
    timeout: float | None = None  # seconds, overall, retries included; None for none, as Istio and Linkerd
    attempt_timeout: float | None = None  # seconds, until the response head
    hedge: bool = False  # at the end of `attempt_timeout` try elsewhere as well, instead
    attempt_idle_timeout: float | None = None  # seconds without a byte either way, within an attempt
    idle_timeout: float = STREAM_IDLE  # seconds without a byte either way once the request is under way
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    # The field and the document that say each of the limits above, for people.
    timeout_of: str = ""
    attempt_timeout_of: str = ""
    attempt_idle_of: str = ""
    # Deterministic split: "", "request-id", "principal", "header:<name>", "cookie:<name>" or "key:<key>".
    sticky: str = ""
