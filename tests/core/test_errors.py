"""Every error says who broke it, what the client is told, when it may be repeated, and why."""

import pytest

from meshd.core import flags, proxy_errors
from meshd.core.errors import DownstreamError, ProtocolError, ProxyError, Resend, Side, StreamBroken, UpstreamError


@pytest.mark.parametrize(
    ("kind", "side"), [(ProxyError, Side.LOCAL), (UpstreamError, Side.UPSTREAM), (DownstreamError, Side.DOWNSTREAM)]
)
def test_the_attributes(kind, side):
    error = kind(503, flags.OVERFLOW, "full", retry=Resend.UNSENT)
    assert (error.side, error.status, error.flag, error.retry) == (side, 503, flags.OVERFLOW, Resend.UNSENT)
    assert (str(error), error.details) == ("full", "full")
    assert isinstance(error, ProxyError)
    assert repr(error) == f"<{kind.__name__} 503 UO 'full' retry=UNSENT>"


@pytest.mark.parametrize("kind", [ProxyError, UpstreamError, DownstreamError])
def test_nothing_is_repeated_unless_the_error_says_so(kind):
    assert kind(500, flags.INTERNAL, "why").retry is Resend.NEVER


@pytest.mark.parametrize("kind", [ProxyError, UpstreamError, DownstreamError])
def test_the_type_of_the_cause_travels_with_the_error(kind):
    assert kind(502, flags.CONNECTION_FAILURE, "why").proxy_error == ""
    error = kind(502, flags.CONNECTION_FAILURE, "why", proxy_error=proxy_errors.DNS_TIMEOUT)
    assert error.proxy_error == "dns_timeout"


def test_a_broken_rule_keeps_its_cause_when_it_is_a_responses():
    told = ProtocolError(431, "header fields too large", proxy_error="http_response_header_section_size").of_response()
    assert (told.status, told.details) == (502, "header fields too large")
    assert told.proxy_error == "http_response_header_section_size"


def test_bad_bytes_are_final():
    error = ProtocolError(400, "no colon")
    assert (error.status, error.flag, error.retry) == (400, flags.DOWNSTREAM_PROTOCOL, Resend.NEVER)


def test_a_broken_stream_claims_nothing_was_written_only_when_told():
    assert not StreamBroken("reset").unsent
    assert StreamBroken("reset", unsent=True).unsent
    assert not isinstance(StreamBroken("reset"), ProxyError)  # it has no side: somebody must translate it
