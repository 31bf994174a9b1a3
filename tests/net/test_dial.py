"""From an endpoint to a stream: names of several addresses, and what is said when none answers."""

import errno
import socket

import pytest
from support.background import in_background
from support.listening import close, full, listening

from meshd.core import flags, proxy_errors
from meshd.core.endpoint import Endpoint
from meshd.core.errors import Resend, UpstreamError
from meshd.net import wait
from meshd.net.dial import Dialler
from meshd.net.race import open_socket
from meshd.net.resolver import Resolver
from meshd.net.sweep import Sweeper


async def dial(endpoint, *addresses, times=1, within=5.0):
    """The peers of so many dials, or the error; the seconds that each took."""
    found = []

    async def look_up(_host):
        if not addresses:
            raise OSError(-2, "Name or service not known")
        return addresses

    async def run():
        sweeper = Sweeper()
        wait.start(sweeper.run)
        dialler = Dialler(sweeper, None, resolver=Resolver(look_up))
        for _ in range(times):
            began = wait.now()
            try:
                stream = await dialler.dial(endpoint, within)
            except UpstreamError as error:
                found.append((error, wait.now() - began))
                continue
            found.append((stream.sock.getpeername()[0], wait.now() - began))
            stream.close()

    await in_background(run)
    return found


@pytest.mark.parametrize(("family", "own"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_localhost_is_whichever_the_app_listens_on(family, own):
    """Hosts files of images name both families; an app listens on one."""
    with socket.socket(family) as listener:
        listener.bind((own, 0))
        listener.listen()
        endpoint = Endpoint("localhost", listener.getsockname()[1])
        assert [peer for peer, _ in await dial(endpoint, "::1", "127.0.0.1", times=3)] == [own] * 3


async def test_connections_are_shared_among_the_addresses_of_a_name():
    with listening() as first:
        port = first.getsockname()[1]
        with listening("127.0.0.2", port):
            found = await dial(Endpoint("a.test", port), "127.0.0.1", "127.0.0.2", times=6)
    assert sorted(peer for peer, _ in found) == ["127.0.0.1"] * 3 + ["127.0.0.2"] * 3


async def test_a_dead_first_address_costs_its_stagger_once():
    with listening() as listener:
        port = listener.getsockname()[1]
        silent = full("127.0.0.3", port)
        found = await dial(Endpoint("a.test", port), "127.0.0.3", "127.0.0.1", times=4)
        close(silent)
    assert [peer for peer, _ in found] == ["127.0.0.1"] * 4
    assert sum(seconds >= 0.2 for _, seconds in found) <= 1 + sum(seconds > 1 for _, seconds in found)


async def test_an_endpoint_that_is_one_address_of_a_name_begins_with_that():
    with listening() as first:
        port = first.getsockname()[1]
        with listening("127.0.0.2", port):
            endpoint = Endpoint("127.0.0.2", port)
            endpoint.host = "a.test"
            found = await dial(endpoint, "127.0.0.1", "127.0.0.2", times=3)
    assert [peer for peer, _ in found] == ["127.0.0.2"] * 3


async def test_a_failure_names_every_address_that_was_tried():
    with listening() as listener:
        port = listener.getsockname()[1]
    ((error, _),) = await dial(Endpoint("a.test", port), "127.0.0.1", "127.0.0.2")
    assert error.details == f"connection to a.test:{port}: 127.0.0.1 refused, 127.0.0.2 refused"
    assert (error.status, error.flag, error.retry) == (502, flags.CONNECTION_FAILURE, Resend.UNSENT)
    assert error.proxy_error == proxy_errors.CONNECTION_REFUSED


async def test_addresses_that_say_nothing_time_out_together():
    with listening() as listener:
        port = listener.getsockname()[1]
        silent = full("127.0.0.3", port) + full("127.0.0.4", port)
        ((error, seconds),) = await dial(Endpoint("a.test", port), "127.0.0.3", "127.0.0.4", within=3.0)
        close(silent)
    told = error.details.removeprefix(f"connection to a.test:{port}: ")
    assert sorted(told.split(", ")) == ["127.0.0.3 timed out", "127.0.0.4 timed out"]
    assert (error.status, error.proxy_error) == (504, proxy_errors.CONNECTION_TIMEOUT)
    assert seconds >= 3.0  # twelve times the moment after which the second is begun


async def test_a_name_that_nobody_has():
    ((error, _),) = await dial(Endpoint("a.test", 80))
    assert error.details == "no address for a.test: Name or service not known"
    assert (error.flag, error.proxy_error) == (flags.DNS_FAILED, proxy_errors.DNS_ERROR)


async def test_name_servers_that_say_nothing():
    async def silent(_host):
        raise OSError(errno.ETIMEDOUT, "no answer from the name servers within 5 s")

    with pytest.raises(UpstreamError) as caught:
        await Dialler(Sweeper(), None, resolver=Resolver(silent)).dial(Endpoint("a.test", 80))
    error = caught.value
    assert (error.status, error.flag, error.proxy_error) == (504, flags.DNS_FAILED, proxy_errors.DNS_TIMEOUT)


async def test_out_of_descriptors_some_are_freed_and_it_is_tried_once_more(monkeypatch):
    opens, freed = [], []

    def short(address):
        opens.append(address)
        if not freed:
            raise OSError(errno.EMFILE, "Too many open files")
        return open_socket(address)

    monkeypatch.setattr("meshd.net.dial.open_socket", short)
    with listening() as listener:
        endpoint = Endpoint("127.0.0.1", listener.getsockname()[1])

        async def run():
            dialler = Dialler(Sweeper(), None)
            dialler.shortage = lambda: freed.append(1)
            (await dialler.dial(endpoint, 5.0)).close()
            freed.clear()
            dialler.shortage = lambda: None
            with pytest.raises(UpstreamError) as failed:
                await dialler.dial(endpoint, 5.0)
            assert failed.value.status == 503

        await in_background(run)
    assert len(opens) == 4
