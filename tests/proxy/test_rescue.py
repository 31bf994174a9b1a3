"""From error to reply: every flag has its kind, every kind is one of the standard."""

import pytest

from meshd.core import flags, proxy_errors
from meshd.core.endpoint import Endpoint
from meshd.core.errors import DownstreamError, ProtocolError, Resend, UpstreamError
from meshd.core.exchange import Attempt
from meshd.proxy import rescue as table
from meshd.proxy.rescue import BODIES, PROXY_STATUS_ERRORS, rescue

KINDS = {value for name, value in vars(proxy_errors).items() if name.isupper()}
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


@pytest.mark.parametrize("name", ["unreachable.test:80", "tls-certificate.example:443", "timed out"])
def test_a_name_that_sounds_like_a_cause_is_none(name):
    error = UpstreamError(502, flags.CONNECTION_FAILURE, f"connection to {name}: refused")
    assert rescue(error).error == "connection_refused"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_cause_that_an_error_carries_is_told_whatever_its_words_are(kind):
    error = UpstreamError(502, flags.CONNECTION_FAILURE, "connection to unreachable.test: refused", proxy_error=kind)
    assert rescue(error).error == kind


def test_a_limit_of_policy_denies_and_a_limit_of_connections_does_not():
    assert rescue(UpstreamError(429, flags.RATE_LIMITED, "local_rate_limited[x]")).error == "http_request_denied"
    assert rescue(UpstreamError(503, flags.OVERFLOW, "overflow")).error == "connection_limit_reached"


def test_a_bad_request_and_an_unknown_flag():
    assert rescue(ProtocolError(431, "too large")).error == "http_request_error"
    unknown = rescue(DownstreamError(599, "??", "x"))
    assert (unknown.error, unknown.body) == ("proxy_internal_error", b"error")


@pytest.mark.parametrize(
    ("earlier", "last", "unprocessed"),
    [
        ([], Resend.UNSENT, True),
        ([Resend.UNSENT, Resend.MOVED], Resend.UNSENT, True),
        ([Resend.UNSENT], Resend.IF_SAFE, False),
        ([Resend.IF_SAFE], Resend.UNSENT, False),  # the first may have been executed, whatever became of the second
        ([Resend.REUSED], Resend.UNSENT, False),
        ([None], Resend.UNSENT, False),  # it was answered
        ([], Resend.NEVER, False),
    ],
)
def test_a_reply_says_that_nothing_reached_the_app_only_when_nothing_ever_did(earlier, last, unprocessed):
    attempts = [Attempt(Endpoint("10.0.0.1", 80), 0.0) for _ in [*earlier, last]]
    for attempt, resend in zip(attempts, [*earlier, last], strict=True):
        attempt.resend = resend
    assert rescue(UpstreamError(502, flags.CONNECTION_FAILURE, "x", retry=last), attempts).unprocessed is unprocessed
