"""From error to reply: every flag has its kind, every kind is one of the standard."""

import pytest

from meshd.core import flags
from meshd.core.errors import DownstreamError, ProtocolError, UpstreamError
from meshd.proxy import rescue as table
from meshd.proxy.rescue import BODIES, PROXY_STATUS_ERRORS, RESPONSE_TOO_LARGE, rescue

# RFC 9209 section 2.3
KINDS = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
}
OURS = [value for value in vars(table).values() if type(value).__name__ == "Reply"]


@pytest.mark.parametrize("flag", PROXY_STATUS_ERRORS)
def test_every_flag_is_told_in_the_words_of_the_standard(flag):
    reply = rescue(UpstreamError(503, flag, "why"))
    assert reply.error in KINDS
    assert (reply.status, reply.flag, reply.details, reply.body) == (503, flag, "why", BODIES[503])


@pytest.mark.parametrize("reply", OURS, ids=lambda reply: reply.flag)
def test_our_own_refusals_are_told_so_too(reply):
    assert reply.error in KINDS
    assert reply.flag
    assert reply.body


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ("connection refused", "connection_refused"),
        ("timed out", "connection_timeout"),
        ("network is unreachable", "destination_ip_unroutable"),
        ("TLS: certificate has expired", "tls_certificate_error"),
        ("TLS: another identity", "tls_certificate_error"),
        ("TLS: wrong version", "tls_protocol_error"),
    ],
)
def test_why_there_is_no_connection(details, kind):
    assert rescue(UpstreamError(502, flags.CONNECTION_FAILURE, details)).error == kind


def test_a_response_that_is_too_large_is_nobodys_protocol_error():
    assert rescue(UpstreamError(502, flags.UPSTREAM_PROTOCOL, RESPONSE_TOO_LARGE)).error == "http_response_body_size"


def test_a_bad_request_and_an_unknown_flag():
    assert rescue(ProtocolError(431, "too large")).error == "http_request_error"
    unknown = rescue(DownstreamError(599, "??", "x"))
    assert (unknown.error, unknown.body) == ("proxy_internal_error", b"error")
