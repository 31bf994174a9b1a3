"""From an endpoint to a pooled connection, over loopback."""

import socket

import pytest
import trio
from support.origin import Origin
from support.requests import request

from meshd.core import flags
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.errors import Resend, UpstreamError
from meshd.net.dial import Dialler
from meshd.net.sweep import Sweeper
from meshd.upstream.connector import Connector


def make_connector(timeout=5.0, sweeper=None):
    return Connector(Dialler(sweeper or Sweeper(), None), timeout)


async def test_a_connection_that_carries_an_exchange():
    with Origin() as origin:
        began = trio.current_time()
        connection = await make_connector()(Endpoint("127.0.0.1", origin.port))
        assert began <= connection.born <= trio.current_time()
        assert (connection.uses, connection.idle_since) == (0, connection.born)
        await connection.send_request(request("/it"), b"", end=True)
        assert (await connection.read_head()).status == 200
        assert connection.take_ready()[0] == b"ok"
        connection.close()
    assert [each.target for each in origin.requests] == ["/it"]


async def test_a_closed_port_is_a_failure_before_anything_was_sent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UpstreamError, match="refused") as caught:
        await make_connector()(Endpoint("127.0.0.1", port))
    assert (caught.value.flag, caught.value.retry) == (flags.CONNECTION_FAILURE, Resend.UNSENT)


async def test_mutual_tls_without_certificates_is_refused():
    with Origin() as origin, pytest.raises(UpstreamError, match="no certificates") as caught:
        await make_connector()(Endpoint("127.0.0.1", origin.port, tls=Tls.MUTUAL))
    assert caught.value.retry is Resend.UNSENT


def test_it_says_what_it_is():
    assert repr(make_connector(1.5)) == "<Connector within 1.5 s>"
