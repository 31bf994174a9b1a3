"""How to treat a destination: connections, balancing, ejection, TLS. The part of a DestinationRule that repeats by
subset and by port.

Source: istio/api networking/v1alpha3/destination_rule.proto and the rules of the CRD.
"""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from meshd.config.address import ip_version, is_host
from meshd.config.model import Fault, Many, Model, Nullable, Unsupported, exclusive
from meshd.config.scalars import Count, Duration, LongDuration, Percent, Port, StatusCode, Text, UInt32


class TcpKeepalive(Model):
    """When the kernel probes a silent peer, how often, and how many times before it gives up."""

    probes: UInt32 | None = None
    time: LongDuration | None = None
    interval: LongDuration | None = None


class TcpSettings(Model):
    """Limits of connections, whatever runs on them. 0 connections means the default."""

    max_connections: Count | None = None
    connect_timeout: LongDuration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: LongDuration | None = None
    idle_timeout: Duration | None = None


class Http2KeepAlive(Model):
    """PINGs on HTTP/2 connections."""

    interval: LongDuration | None = None
    timeout: LongDuration | None = None


class HttpSettings(Model):
    """Limits of requests. 0 means the default."""

    http1_max_pending_requests: Count | None = None
    http2_max_requests: Count | None = None
    max_requests_per_connection: Count | None = None
    max_retries: Count | None = None
    idle_timeout: LongDuration | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: Count | None = None
    http2_keep_alive: Http2KeepAlive | None = None


class ConnectionPool(Model):
    """Limits toward one destination."""

    tcp: TcpSettings | None = None
    http: HttpSettings | None = None


class OutlierDetection(Model):
    """When an endpoint is ejected, and for how long. 0 errors turn that reason off."""

    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: Annotated[UInt32 | None, Nullable()] = None
    consecutive_gateway_errors: Annotated[UInt32 | None, Nullable()] = None
    consecutive_5xx_errors: Annotated[UInt32 | None, Field(alias="consecutive5xxErrors"), Nullable()] = None
    consecutive_errors: Annotated[
        object, Unsupported("Istio withdrew it; use consecutiveGatewayErrors or consecutive5xxErrors")
    ] = None
    interval: LongDuration | None = None
    base_ejection_time: LongDuration | None = None
    max_ejection_percent: Annotated[int | None, Field(ge=0, le=100)] = None
    min_health_percent: Annotated[int | None, Field(ge=0, le=100)] = None
    outlier_detection_http_error_codes: Many[StatusCode] = ()


class TlsSettings(Model):
    """How to speak to the destination. ISTIO_MUTUAL is the mesh's own mutual TLS."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: Annotated[object, Unsupported("a sidecar reads files; use caCertificates and its siblings")] = None
    subject_alt_names: Many[str] = ()
    sni: str = ""
    insecure_skip_verify: Annotated[bool | None, Nullable()] = None

    def faults(self) -> Iterator[Fault]:
        """Files that the mode needs, and none that it ignores."""
        if self.insecure_skip_verify:
            expected = "insecureSkipVerify is not supported: servers are always verified"
            yield Fault(("insecureSkipVerify",), expected, "name the CA in 'caCertificates'", rule="unsupported")
        for alias, value in (("clientCertificate", self.client_certificate), ("privateKey", self.private_key)):
            if self.mode == "MUTUAL" and not value:
                yield Fault((alias,), "required when mode is 'MUTUAL'", rule="missing")
            elif self.mode != "MUTUAL" and value:
                yield Fault((alias,), f"only allowed when mode is 'MUTUAL'; mode is {self.mode!r}", f"remove {alias!r}")
        if self.mode == "ISTIO_MUTUAL" and self.ca_certificates:
            expected = "mode ISTIO_MUTUAL uses the certificates of the mesh"
            yield Fault(("caCertificates",), expected, "remove 'caCertificates' or use mode 'MUTUAL'")
        if self.sni and (not is_host(self.sni) or ip_version(self.sni) or self.sni.endswith(".")):
            yield Fault(("sni",), "expected a host name: no IP address, and no dot at the end (RFC 6066 section 3)")


class CookieAttribute(Model):
    """An attribute of the cookie that is set."""

    name: str
    value: str = ""


class HashCookie(Model):
    """The cookie to hash; made when missing, if it has a `ttl` (0 makes it a session cookie)."""

    name: Text
    path: str = ""
    ttl: Duration | None = None
    attributes: Many[CookieAttribute] = ()


class RingHash(Model):
    """Ketama's ring."""

    minimum_ring_size: Annotated[int, Field(ge=0, le=8_388_608)] = 1024


class Maglev(Model):
    """Maglev's table; its size must be a prime."""

    table_size: Annotated[int, Field(ge=0, le=5_000_011)] = 65537


class ConsistentHash(Model):
    """What of a request is hashed, and by which algorithm the hash picks an endpoint."""

    http_header_name: Text | None = None
    http_cookie: HashCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: Text | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: Annotated[int | None, Field(ge=0, le=8_388_608)] = None

    def faults(self) -> Iterator[Fault]:
        """One key, one algorithm."""
        keys = ("http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name")
        yield from exclusive(self, *keys, needed=True)
        yield from exclusive(self, "ring_hash", "maglev")

    @property
    def ring_size(self) -> int:
        """The least number of points on the ring, wherever the document says it."""
        if self.ring_hash is not None:
            return self.ring_hash.minimum_ring_size
        return 1024 if self.minimum_ring_size is None else self.minimum_ring_size


class Distribute(Model):
    """Shares of traffic from one locality to others, in percent."""

    from_: Annotated[str, Field(alias="from")] = ""
    to: dict[str, UInt32] = Field(default_factory=dict)

    def faults(self) -> Iterator[Fault]:
        """All of the traffic goes somewhere."""
        if sum(self.to.values()) != 100:
            yield Fault(("to",), f"expected shares that add up to 100, these make {sum(self.to.values())}")


class Failover(Model):
    """Where traffic of one region goes when no endpoint is left in it."""

    from_: Annotated[str, Field(alias="from")] = ""
    to: str = ""


class LocalityLb(Model):
    """Preferring near endpoints."""

    distribute: Many[Distribute] = ()
    failover: Many[Failover] = ()
    failover_priority: Many[str] = ()
    enabled: Annotated[bool | None, Nullable()] = None

    def faults(self) -> Iterator[Fault]:
        """Shares and failover exclude each other."""
        if self.distribute and (self.failover or self.failover_priority):
            yield Fault(("distribute",), "expected distribute or failover, not both", "remove 'distribute'")


class Warmup(Model):
    """A new endpoint gets its share slowly."""

    duration: LongDuration
    minimum_percent: Annotated[Percent | None, Nullable()] = None
    aggression: Annotated[float | None, Field(ge=0), Nullable()] = None


class LoadBalancer(Model):
    """Which endpoint takes the next request. LEAST_REQUEST when nothing is said."""

    simple: Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"] | None = None
    consistent_hash: ConsistentHash | None = None
    backend_utilization: Annotated[object, Unsupported("needs load reports (ORCA) in responses")] = None
    locality_lb_setting: LocalityLb | None = None
    zone_aware_lb_setting: Annotated[object, Unsupported("needs the whole mesh in view; use localityLbSetting")] = None
    warmup_duration_secs: LongDuration | None = None
    warmup: Warmup | None = None

    def faults(self) -> Iterator[Fault]:
        """One algorithm, one warm-up."""
        yield from exclusive(self, "simple", "consistent_hash", "backend_utilization")
        yield from exclusive(self, "warmup", "warmup_duration_secs")

    @property
    def warmup_time(self) -> float:
        """Seconds, wherever the document says it; 0 for none."""
        if self.warmup is not None:
            return self.warmup.duration
        return self.warmup_duration_secs or 0.0


class RetryBudget(Model):
    """Retries in progress, at most this share of requests in progress."""

    percent: Annotated[Percent | None, Nullable()] = None
    budget_interval: Duration | None = None
    min_retry_concurrency: UInt32 | None = None


class PortSelector(Model):
    """A port of the Service."""

    number: Port


class PortPolicy(Model):
    """The policy of one port. It replaces that of the destination; nothing is inherited."""

    port: PortSelector | None = None
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: TlsSettings | None = None


class TrafficPolicy(Model):
    """The policy of a destination, or of one subset of it."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: TlsSettings | None = None
    retry_budget: RetryBudget | None = None
    port_level_settings: Annotated[Many[PortPolicy], Field(max_length=4096)] = ()
    tunnel: Annotated[object, Unsupported("connect through a ServiceEntry for the tunnel's end instead")] = None
    proxy_protocol: Annotated[object, Unsupported("this proxy sends no PROXY protocol header")] = None

    def faults(self) -> Iterator[Fault]:
        """Each port once, and named."""
        seen: set[int] = set()
        for place, policy in enumerate(self.port_level_settings):
            if policy.port is None:
                yield Fault(("portLevelSettings", place, "port"), "required: the port that is meant", rule="missing")
            elif policy.port.number in seen:
                at = ("portLevelSettings", place, "port", "number")
                yield Fault(at, "expected settings for each port once", rule="duplicate")
            else:
                seen.add(policy.port.number)
