"""Endpoints that mutual TLS does not come about with, and what is told of it.

A server that refuses us does so when our side of the handshake is done already, as TLS 1.3 has it.
"""

import logging
from typing import Final

from meshd.core import flags, proxy_errors
from meshd.core.endpoint import Endpoint
from meshd.core.errors import Resend, UpstreamError
from meshd.identity.own import own_fault
from meshd.net import wait
from meshd.net.stream import Stream, TlsStream
from meshd.upstream.holding import OF_TLS

NO_TRUST: Final = "let ca.crt of both sides hold the roots of both, and both be of one trust domain"
RENEW: Final = "renew it ('meshd ca renew', or whoever issues it)"
REMEDIES: Final = {
    "unknown_ca": NO_TRUST,
    "bad_certificate": "the line of the log on the other side says what is wrong with it",
    "unexpected_message": "declare the endpoint as one of the mesh, or its port PERMISSIVE (PeerAuthentication)",
}  # by alert
MAX_EXPECTED: Final = 300  # characters

log = logging.getLogger(__name__)


def refused(stream: Stream, alert: str) -> UpstreamError:
    """The handshake never ended for the server, or never began: it has seen no request."""
    if not isinstance(stream, TlsStream):
        return _error(f"the server speaks TLS and this sidecar does not speak it there: TLS alert {alert}", alert)
    details = f"the server refused this sidecar: TLS alert {alert}"
    credentials = stream.credentials
    if credentials is not None:
        fault = own_fault(credentials, wait.wall_clock())
        own = f"its own certificate, {credentials.spiffe_id},"
        details += f"; {own} {fault}; {RENEW}" if fault else f"; {own} is good by its own bundle"
    return _error(details, alert)


def warn(service: str, endpoint: Endpoint, error: UpstreamError) -> None:
    """Log that an endpoint cannot be dialled, where it is TLS that fails: nobody but an operator mends that."""
    if error.proxy_error not in OF_TLS:
        return
    expected = " or ".join(sorted(endpoint.identities)) or "nobody"
    if len(expected) > MAX_EXPECTED:
        expected = f"{expected[:MAX_EXPECTED]}…"
    remedy = "" if RENEW in error.details else REMEDIES.get(error.alert, "")
    log.warning(
        "no connection to %s (%s, where %s is expected): %s%s",
        service,
        endpoint.name,
        expected,
        error.details,
        f"; {remedy}" if remedy else "",
        extra={"kind": f"{service} {endpoint.name} {error.proxy_error} {error.alert}"},
    )


def _error(details: str, alert: str) -> UpstreamError:
    kind, flag = proxy_errors.TLS_ALERT_RECEIVED, flags.CONNECTION_FAILURE
    error = UpstreamError(502, flag, details, retry=Resend.UNSENT, proxy_error=kind)
    error.alert = alert
    return error
