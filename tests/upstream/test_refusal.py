"""What is logged of endpoints that TLS keeps away."""

from random import Random

import pytest

from meshd.core import flags, proxy_errors
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.errors import UpstreamError
from meshd.net import wait
from meshd.upstream.cluster import Cluster, ClusterSettings
from meshd.upstream.pool import PoolSettings
from meshd.upstream.refusal import MAX_EXPECTED, RENEW, warn


def endpoint(*identities):
    made = Endpoint("10.0.0.1", 8443, tls=Tls.MUTUAL)
    made.identities = frozenset(identities or ["spiffe://mesh.test/ns/default/sa/shop"])
    return made


def failure(details="the server refused this sidecar", kind=proxy_errors.TLS_ALERT_RECEIVED, alert="unknown_ca"):
    error = UpstreamError(502, flags.CONNECTION_FAILURE, details, proxy_error=kind)
    error.alert = alert
    return error


def test_a_caller_that_is_refused_logs_whom_it_expected_and_what_helps(caplog):
    warn("shop.test:80", endpoint(), failure("the server refused this sidecar: TLS alert unknown_ca"))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    said = record.getMessage()
    assert "shop.test:80 (10.0.0.1:8443, where spiffe://mesh.test/ns/default/sa/shop is expected)" in said
    assert "TLS alert unknown_ca; let ca.crt of both sides" in said


def test_a_remedy_is_told_once(caplog):
    warn("shop.test:80", endpoint(), failure(f"its own certificate expired; {RENEW}", alert="certificate_expired"))
    warn("shop.test:80", endpoint(), failure(f"its own certificate is revoked; {RENEW}"))
    assert all(record.getMessage().count("; ") == 1 for record in caplog.records)


def test_endpoints_hide_each_other_as_little_as_reasons_do(caplog):
    """Lines are counted together where their kinds are the same."""
    other = endpoint()
    other.port = 1
    for place in (endpoint(), other):
        for alert in ("unknown_ca", "certificate_revoked"):
            warn("shop.test:80", place, failure(alert=alert))
    assert len({record.kind for record in caplog.records}) == 4


def test_no_line_is_longer_for_many_identities(caplog):
    warn("shop.test:80", endpoint(*[f"spiffe://mesh.test/ns/default/sa/{each}" for each in range(1000)]), failure())
    assert len(caplog.records[0].getMessage()) < MAX_EXPECTED + 400


@pytest.mark.parametrize("kind", [proxy_errors.CONNECTION_REFUSED, proxy_errors.CONNECTION_TIMEOUT, ""])
def test_an_endpoint_that_is_away_is_no_line(caplog, kind):
    """It is counted; apps restart."""
    warn("shop.test:80", endpoint(), failure(kind=kind, alert=""))
    assert caplog.records == []


async def test_a_cluster_logs_and_shows_the_dial_that_failed_last(caplog, autojump_clock):
    place, errors = endpoint(), [failure("x" * 10_000)]

    async def connect(_endpoint, *, http2=False):
        raise errors[0]

    cluster = Cluster("shop.test:80", [place], connect, ClusterSettings(pool=PoolSettings()), Random(1))
    shown = cluster.statistics()["endpoints"][0]
    assert shown["last_failed_dial"] is None
    with pytest.raises(UpstreamError):
        await cluster.pool(place).acquire(wait.now())
    shown = cluster.statistics()["endpoints"][0]["last_failed_dial"]
    assert shown == {"error": "tls_alert_received", "details": "x" * 500, "seconds_ago": 0.0}
    assert len(caplog.records) == 1
