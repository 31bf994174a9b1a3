"""BackendPolicy: what no standard says about the way to a Service: warm connections, retry conditions and budget,
TLS resumption, health checks, socket options.

Defaults are those of a sidecar between two services that both run this proxy; each class says what its fields mean.
"""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from meshd.config.model import Fault, Many, Model, Nullable, Resource, repeats
from meshd.config.references import ServiceTarget
from meshd.config.scalars import (
    Count,
    Duration,
    HeaderName,
    LongDuration,
    Percent,
    Port,
    Positive,
    PreciseHostname,
    Size,
    SplitKey,
    StatusCode,
    UrlPath,
)

# Envoy's words, HTTP then gRPC, so that what people know from `retry_on` means the same here.
RetryCondition = Literal[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
]


class Warm(Model):
    """Connections held open before they are needed: `min` an endpoint and worker. Eager: before it gets traffic at all;
    lazy: after its first request. Unless given, none are held open to endpoints without mutual TLS, only tried: a
    server that serves one connection at a time would be frozen by them."""

    mode: Literal["eager", "lazy"] = "eager"
    min: Annotated[int, Field(ge=0, le=1000)] = 1


class Connections(Model):
    """Bounds of the pool of one endpoint and worker. A lifetime ends with a clean close between two exchanges."""

    max: Positive = 1024
    max_pending: Count = 1024
    idle_timeout: LongDuration = 60.0
    max_lifetime: LongDuration = 3600.0


class Budget(Model):
    """Retries are at most `percent` of the requests in the window, plus `minPerSecond`."""

    percent: Percent = 20.0
    min_per_second: Count = 10
    window: LongDuration = 10.0


class ResetHeader(Model):
    """A response field that says when to come back: in so many seconds, or at a time since 1970."""

    name: HeaderName
    format: Literal["SECONDS", "UNIX_TIMESTAMP"] = "SECONDS"


class Backoff(Model):
    """Full jitter: before retry N a wait of 0 to (2^N - 1) times `base`, never more than `max`. Where a response has
    one of `resetHeaders` that asks for no more than `resetMax`, the wait is what it says, and up to half as much again.
    """

    base: LongDuration = 0.025
    max: LongDuration = 0.25
    reset_headers: Many[ResetHeader] = ()
    reset_max: LongDuration = 300.0

    def faults(self) -> Iterator[Fault]:
        """The most is not less than the first."""
        if self.max < self.base:
            yield Fault(("max",), "expected a time no shorter than 'base'")


class Retry(Model):
    """When a request is tried again, at most `attempts` times after the first. Without `on`, what is safe is tried:
    connect-failure, refused-stream and reset-before-request for every method; reset, gateway-error and unavailable
    for `methods` only. `hedgeOnPerTryTimeout`: at the end of perTryTimeout a request that is safe to repeat goes to
    another endpoint as well, and the first good answer is taken; it counts as a retry. A time of 0s is no limit."""

    attempts: Annotated[int, Field(ge=0, le=10)] = 1
    on: Many[RetryCondition] | None = None
    codes: Many[StatusCode] = ()
    headers: Many[HeaderName] = ()
    methods: Many[HeaderName] = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
    budget: Annotated[Budget | None, Nullable()] = Field(default_factory=Budget)
    backoff: Backoff = Field(default_factory=Backoff)
    per_try_timeout: Duration | None = None
    per_try_idle_timeout: Duration | None = None
    hedge_on_per_try_timeout: bool = False
    buffer_limit: Size = 64 * 1024

    def faults(self) -> Iterator[Fault]:
        """Codes go with their condition, hedging with its time."""
        if self.hedge_on_per_try_timeout and not self.per_try_timeout:
            yield Fault(("perTryTimeout",), "required with 'hedgeOnPerTryTimeout'", rule="missing")
        yield from repeats(("on",), self.on or ())
        for name, listed, condition in (
            ("codes", self.codes, "retriable-status-codes"),
            ("headers", self.headers, "retriable-headers"),
        ):
            if listed and self.on is not None and condition not in self.on:
                yield Fault((name,), f"only looked at with '{condition}' in 'on'", "add it to 'on'")
            if self.on and condition in self.on and not listed:
                yield Fault((name,), f"required with '{condition}' in 'on'", rule="missing")


class BackendTls(Model):
    """Shortcuts of the handshake, and who may answer. `earlyData` sends a first safe request with it (RFC 8470),
    between sidecars only.

    `peerIdentity` is for endpoints of which neither `serviceAccount` nor `subjectAltNames` says who they are. Without
    it those of a Service are of the account that has the Service's name, those of a ServiceEntry of any account of its
    namespace. `trustDomain` lets whoever holds a certificate of the mesh answer as this service.
    """

    peer_identity: Literal["serviceAccount", "namespace", "trustDomain"] | None = None
    resumption: bool = True
    early_data: bool = False

    def faults(self) -> Iterator[Fault]:
        """Early data needs a session to resume."""
        if self.early_data and not self.resumption:
            yield Fault(("earlyData",), "early data needs a resumed session", "set 'resumption' to true")


class HttpCheck(Model):
    """A request that a healthy endpoint answers with an expected status."""

    path: UrlPath = "/"
    host: PreciseHostname | None = None
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    expected_statuses: Many[StatusCode] = (200,)


class GrpcCheck(Model):
    """The standard health service; an empty name asks for the server as a whole."""

    service: str = ""


class TcpCheck(Model):
    """A connection that opens."""


class HealthCheck(Model):
    """Asking an endpoint how it is, besides watching how it answers."""

    http: HttpCheck | None = None
    grpc: GrpcCheck | None = None
    tcp: TcpCheck | None = None
    port: Port | None = None
    interval: LongDuration = 10.0
    timeout: LongDuration = 1.0
    healthy_threshold: Positive = 1
    unhealthy_threshold: Positive = 3

    def faults(self) -> Iterator[Fault]:
        """One way to ask, and time to answer."""
        present = [name for name in ("http", "grpc", "tcp") if self.has(name)]
        if len(present) != 1:
            yield Fault((present[1],) if present else (), "expected one of http, grpc, tcp", rule="missing")
        if self.timeout > self.interval:
            yield Fault(("timeout",), "expected a time no longer than 'interval'")


class Keepalive(Model):
    """When the kernel probes a silent peer, how often, and how many times before it gives up."""

    time: LongDuration = 180.0
    interval: LongDuration = 180.0
    probes: Annotated[int, Field(ge=1, le=127)] = 9


class SocketOptions(Model):
    """Options of the sockets to the endpoints. `userTimeout` ends a connection whose octets nobody acknowledges.

    `quickAck` acknowledges a part of a response at once (TCP_QUICKACK), because a server that writes head and body
    separately may wait for that for 40 ms. Unless given it is so wherever the endpoint speaks no mutual TLS.
    """

    keepalive: Annotated[Keepalive | None, Nullable()] = Field(default_factory=Keepalive)
    user_timeout: Duration = 0.0
    no_delay: bool = True
    fast_open: bool = False
    quick_ack: bool | None = None


class BackendPolicySpec(Model):
    """Targets, and what holds for the way to them. `timeout` covers all attempts; without it, or with 0s, there is no
    limit but the one of silence: 5 minutes without an octet either way, or as long as `timeout` is, if that is longer.
    With `stickySplit` a route that splits these calls takes the same
    side for the same value; requests that lack it are split at random. The principal is that of the caller: all calls
    of one workload go the same way."""

    target_refs: Annotated[Many[ServiceTarget], Field(min_length=1, max_length=16)]
    warm: Warm = Field(default_factory=Warm)
    connections: Connections = Field(default_factory=Connections)
    retry: Retry = Field(default_factory=Retry)
    timeout: Annotated[Duration | None, Nullable()] = None
    connect_timeout: LongDuration = 1.0
    sticky_split: SplitKey | None = None
    tls: BackendTls = Field(default_factory=BackendTls)
    health_check: HealthCheck | None = None
    socket: SocketOptions = Field(default_factory=SocketOptions)

    def faults(self) -> Iterator[Fault]:
        """Each target once; an attempt ends before the whole does."""
        names = ((ref.kind, ref.namespace, ref.name, ref.port) for ref in self.target_refs)
        yield from repeats(("targetRefs",), names)
        if self.timeout and self.retry.per_try_timeout and self.retry.per_try_timeout > self.timeout:
            yield Fault(
                ("retry", "perTryTimeout"), "expected a time no longer than 'timeout', which covers all attempts"
            )
        if self.warm.min > self.connections.max:
            yield Fault(("warm", "min"), f"expected at most connections.max, {self.connections.max}")


class BackendPolicy(Resource):
    """The way to a Service."""

    spec: BackendPolicySpec
