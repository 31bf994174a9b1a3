"""Why there is no connection, in a type that names the cause; no text decides it. Dialling that succeeds is proved with
`upstream/connector.py`."""

import errno
import os
import socket

import pytest

from meshd.core import flags
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.errors import Resend, UpstreamError
from meshd.net.dial import Dialler, refusal
from meshd.net.sweep import Sweeper


async def failure(endpoint):
    with pytest.raises(UpstreamError) as caught:
        await Dialler(Sweeper(), None, 5.0).dial(endpoint)
    return caught.value


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("number", "status", "kind"),
    [
        (errno.ECONNREFUSED, 502, "connection_refused"),
        (errno.ENOENT, 502, "connection_refused"),
        (errno.EHOSTUNREACH, 502, "destination_ip_unroutable"),
        (errno.ENETUNREACH, 502, "destination_ip_unroutable"),
        (errno.EACCES, 502, "destination_ip_prohibited"),
        (errno.EPERM, 502, "destination_ip_prohibited"),
        (errno.ETIMEDOUT, 504, "connection_timeout"),
        (errno.EMFILE, 503, "proxy_internal_error"),
        (errno.ENFILE, 503, "proxy_internal_error"),
        (errno.EADDRNOTAVAIL, 503, "proxy_internal_error"),
    ],
)
@pytest.mark.parametrize("name", ["10.0.0.1", "unreachable.test", "timed-out.tls-certificate.test"])
def test_the_systems_word_is_the_cause_whatever_the_name_sounds_like(number, status, kind, name):
    error = refusal(Endpoint(name, 80), OSError(number, os.strerror(number)))
    assert (error.status, error.proxy_error) == (status, kind)
    assert (error.flag, error.retry) == (flags.CONNECTION_FAILURE, Resend.UNSENT)
    assert name in error.details


async def test_a_closed_port_refuses():
    assert (await failure(Endpoint("127.0.0.1", closed_port()))).proxy_error == "connection_refused"


async def test_a_name_without_an_address_is_not_unreachable():
    error = await failure(Endpoint("unreachable.invalid", 80))
    assert (error.flag, error.proxy_error) == (flags.DNS_FAILED, "dns_error")


async def test_no_certificates_of_our_own_are_our_own_trouble():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = await failure(Endpoint("127.0.0.1", listener.getsockname()[1], tls=Tls.MUTUAL))
    assert error.proxy_error == "proxy_configuration_error"
