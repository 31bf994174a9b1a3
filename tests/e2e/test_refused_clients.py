"""Who is not let in, by a real client (openssl through Python's ssl), and what the log says of each."""

import contextlib
import shutil
import ssl
import time

import pytest
from support.origin import Origin
from support.processes import until
from support.wire import RawClient

from meshd.identity.ca import Authority, Order
from meshd.identity.spiffe import SpiffeId

REQUEST = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n"


@pytest.fixture(scope="module")
def served(shared_mesh):
    with Origin() as origin:
        server = shared_mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        yield shared_mesh, origin, server


def client_context(folder, trust) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(trust / "ca.crt")
    if folder is not None:
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


def answer(address, context) -> bytes:
    """What a client with these certificates gets to hear."""
    with contextlib.suppress(OSError), RawClient(address, context.wrap_socket) as client:
        client.send(REQUEST)
        client.read_until(lambda: client.closed or b"\r\n\r\nok" in client.received, 10)
        return client.received
    return b""


def refused(served, folder, code) -> None:
    mesh, origin, server = served
    origin.take()
    before = server.log.count(code)
    got = answer(server.address("inbound-0"), client_context(folder, mesh.identity("server")))
    assert got == b""
    assert not origin.take()
    until(lambda: server.log.count(code) > before, 10, f"{code!r} in the log")


def test_a_member_of_the_mesh_is_let_in(served):
    mesh, _, server = served
    context = client_context(mesh.identity("friend"), mesh.identity("server"))
    assert answer(server.address("inbound-0"), context).endswith(b"\r\n\r\nok")


def test_no_certificate(served):
    refused(served, None, "no-certificate")


def test_another_authority(served, tmp_path):
    with Authority.create(tmp_path / "ca", "mesh.test", time.time()) as other:
        other.issue(Order(SpiffeId.parse("spiffe://mesh.test/ns/default/sa/friend"), tmp_path / "id"), time.time())
    refused(served, tmp_path / "id", "issuer-unknown")


def test_another_trust_domain(served, tmp_path):
    with Authority.create(tmp_path / "ca", "elsewhere.test", time.time()) as other:
        other.issue(Order(SpiffeId.parse("spiffe://elsewhere.test/ns/default/sa/x"), tmp_path / "id"), time.time())
    refused(served, tmp_path / "id", "issuer-unknown")


def test_an_expired_certificate(served, tmp_path):
    mesh, _, _ = served
    order = Order(SpiffeId.parse("spiffe://mesh.test/ns/default/sa/late"), tmp_path / "id", ttl=3600)
    mesh.authority.issue(order, time.time() - 7200)
    refused(served, tmp_path / "id", "expired")


def test_a_revoked_certificate_as_soon_as_the_list_is_there(served):
    mesh, _, server = served
    folder = mesh.identity("traitor")
    context = client_context(folder, mesh.identity("server"))
    assert answer(server.address("inbound-0"), context).endswith(b"ok")
    issued = mesh.authority.record(folder)
    mesh.authority.revoke([issued.serial], time.time())
    mesh.authority.publish(time.time())
    until(lambda: answer(server.address("inbound-0"), context) == b"", 10, "the refusal")
    refused(served, folder, "revoked")


def test_plain_text(served):
    _, origin, server = served
    origin.take()
    with RawClient(server.address("inbound-0")) as client:
        client.send(REQUEST)
        client.read_until(lambda: client.closed, 10)
        assert b"200" not in client.received
    assert not origin.take()
    until(lambda: "plaintext" in server.log, 10)


def test_new_certificates_are_taken_up_and_open_connections_go_on(served):
    mesh, _, server = served
    context = client_context(mesh.identity("friend"), mesh.identity("server"))
    with RawClient(server.address("inbound-0"), context.wrap_socket) as client:
        before = client.sock.getpeercert(binary_form=True)
        folder = mesh.identity("server")
        fresh = folder.with_name("fresh")
        spiffe_id = SpiffeId.parse("spiffe://mesh.test/ns/default/sa/server")
        mesh.authority.issue(Order(spiffe_id, fresh), time.time())
        for name in ("tls.key", "tls.crt"):
            shutil.copy(fresh / name, folder / f"{name}.new")
            (folder / f"{name}.new").rename(folder / name)

        def renewed():
            with RawClient(server.address("inbound-0"), context.wrap_socket) as other:
                return other.sock.getpeercert(binary_form=True) != before

        until(renewed, 15, "the new certificate")
        client.send(REQUEST)
        assert client.read_until(lambda: client.received.endswith(b"ok"), 10)
