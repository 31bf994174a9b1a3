"""Fields of DestinationRules that ask for what no cluster can do."""

from collections.abc import Iterator

from meshd.config.destination_rule import DestinationRule
from meshd.config.errors import Path
from meshd.config.traffic_policy import ConnectionPool, LoadBalancer, PortPolicy, TlsSettings, TrafficPolicy

Parts = tuple[tuple[bool, Path, str], ...]


def unserved_parts(rule: DestinationRule) -> Iterator[tuple[Path, str]]:
    """Fields that ask for what no cluster can do, and what that is."""
    spec = rule.spec
    yield from _unserved(spec.traffic_policy, ("spec", "trafficPolicy"))
    for place, subset in enumerate(spec.subsets):
        yield from _unserved(subset.traffic_policy, ("spec", "subsets", place, "trafficPolicy"))


def _unserved(policy: TrafficPolicy | PortPolicy | None, at: Path) -> Iterator[tuple[Path, str]]:
    if policy is None:
        return
    for asked, path, what in (
        *_of_balancer(policy.load_balancer),
        *_of_pool(policy.connection_pool),
        *_of_tls(policy.tls),
    ):
        if asked:
            yield (*at, *path), what
    if isinstance(policy, TrafficPolicy):
        budget = policy.retry_budget
        if budget is not None and budget.min_retry_concurrency is not None:
            yield (*at, "retryBudget", "minRetryConcurrency"), "a floor of retries in progress"
        for place, each in enumerate(policy.port_level_settings):
            yield from _unserved(each, (*at, "portLevelSettings", place))


def _of_balancer(given: LoadBalancer | None) -> Parts:
    if given is None:
        return ()
    locality, hashed = given.locality_lb_setting, given.consistent_hash
    cookie = hashed.http_cookie if hashed is not None else None
    near = locality is not None and locality.enabled is not False
    size = hashed.maglev.table_size if hashed is not None and hashed.maglev is not None else 0
    at = "loadBalancer"
    return (
        (given.simple == "PASSTHROUGH", (at, "simple"), "PASSTHROUGH, for the address a client dialled is not known,"),
        (near, (at, "localityLbSetting"), "preferring near endpoints"),
        (given.warmup is not None, (at, "warmup"), "a slow start of endpoints"),
        (given.warmup_duration_secs is not None, (at, "warmupDurationSecs"), "a slow start of endpoints"),
        (cookie is not None and cookie.ttl is not None, (at, "consistentHash", "httpCookie", "ttl"), "making a cookie"),
        (not _is_prime(size), (at, "consistentHash", "maglev", "tableSize"), "a table whose size is no prime"),
    )


def _of_pool(given: ConnectionPool | None) -> Parts:
    found: list[tuple[bool, Path, str]] = []
    if given is not None and given.tcp is not None:
        tcp, at = given.tcp, ("connectionPool", "tcp")
        found += [
            (tcp.tcp_keepalive is not None, (*at, "tcpKeepalive"), "a choice of socket options"),
            (tcp.idle_timeout is not None, (*at, "idleTimeout"), "an idle limit of TCP connections"),
        ]
    if given is not None and given.http is not None:
        http, at = given.http, ("connectionPool", "http")
        found += [
            (
                bool(http.http2_max_requests),
                (*at, "http2MaxRequests"),
                "a bound of requests in progress",
            ),
            (
                bool(http.max_requests_per_connection),
                (*at, "maxRequestsPerConnection"),
                "a bound a connection",
            ),
            (bool(http.max_retries), (*at, "maxRetries"), "a bound of retries beside the retry budget"),
            (http.h2_upgrade_policy == "UPGRADE", (*at, "h2UpgradePolicy"), "an upgrade to HTTP/2"),
            (http.use_client_protocol, (*at, "useClientProtocol"), "the client's protocol toward the destination"),
            (bool(http.max_concurrent_streams), (*at, "maxConcurrentStreams"), "a bound of streams"),
            (http.http2_keep_alive is not None, (*at, "http2KeepAlive"), "PINGs on idle connections"),
        ]
    return tuple(found)


def _of_tls(given: TlsSettings | None) -> Parts:
    if given is None:
        return ()
    names = any(not name.startswith("spiffe://") for name in given.subject_alt_names)
    return (
        (given.mode in ("SIMPLE", "MUTUAL"), ("tls", "mode"), f"TLS of mode {given.mode}"),
        (bool(given.ca_crl), ("tls", "caCrl"), "revocation lists beside those of the mesh"),
        (names and given.mode == "ISTIO_MUTUAL", ("tls", "subjectAltNames"), "a name that is no SPIFFE ID"),
    )


def _is_prime(number: int) -> bool:
    """0 stands for the default."""
    return number == 0 or (number > 1 and all(number % each for each in range(2, int(number**0.5) + 1)))
