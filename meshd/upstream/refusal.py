"""A server that refuses us when our side of the handshake is done already, as TLS 1.3 has it."""

from meshd.core import flags, proxy_errors
from meshd.core.errors import Resend, UpstreamError
from meshd.identity.own import own_fault
from meshd.net import wait
from meshd.net.stream import Stream, TlsStream


def refused(stream: Stream, alert: str) -> UpstreamError:
    """The handshake never ended for the server, or never began: it has seen no request."""
    if not isinstance(stream, TlsStream):
        return _error(f"the server speaks TLS and this sidecar does not speak it there: TLS alert {alert}", alert)
    details = f"the server refused this sidecar: TLS alert {alert}"
    credentials = stream.credentials
    if credentials is not None:
        fault = own_fault(credentials, wait.wall_clock())
        own = f"its own certificate, {credentials.spiffe_id},"
        details += f"; {own} {fault}" if fault else f"; {own} is good by its own bundle"
    return _error(details, alert)


def _error(details: str, alert: str) -> UpstreamError:
    kind, flag = proxy_errors.TLS_ALERT_RECEIVED, flags.CONNECTION_FAILURE
    error = UpstreamError(502, flag, details, retry=Resend.UNSENT, proxy_error=kind)
    error.alert = alert
    return error
