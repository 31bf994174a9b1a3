"""Handshakes between real contexts over real sockets, and the words for each way they fail."""

import socket
import time

import pytest
import trio

from meshd.identity.ca import Authority, Order
from meshd.identity.credentials import load_credentials
from meshd.identity.spiffe import SpiffeId
from meshd.net.sweep import SocketDeadline
from meshd.net.tls import HandshakeFailed, TlsIdentity, is_expected, peer_of


class Home:
    """A CA in a folder and the identities it issued."""

    def __init__(self, folder, trust_domain="mesh.test"):
        self.folder = folder
        self.trust_domain = trust_domain
        self.authority = Authority.create(folder / "ca", trust_domain, time.time())

    def identity(self, name, **order):
        folder = self.folder / name
        self.authority.issue(Order(SpiffeId.parse(self.uri(name)), folder, **order), time.time())
        return self.load(name)

    def uri(self, name):
        return f"spiffe://{self.trust_domain}/ns/default/sa/{name}"

    def load(self, name):
        return TlsIdentity(load_credentials(self.folder / name, self.trust_domain, time.time()))


def sockets():
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    return left, right


async def shake(client: TlsIdentity, server: TlsIdentity, expected=frozenset({"spiffe://mesh.test/*"})):
    """Both outcomes: a Handshake, or the code of the failure. The client reads once, to learn the server's."""
    left, right = sockets()
    outcome = {}

    async def dial():
        try:
            made = await client.connect(left, "", expected)
        except HandshakeFailed as error:
            outcome["client"] = error.code
            left.close()
        else:
            outcome["client"] = made

    async def accept():
        try:
            outcome["server"] = await server.accept(right)
        except HandshakeFailed as error:
            outcome["server"] = error.code

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        nursery.start_soon(accept)
    for end in outcome.values():
        if not isinstance(end, str):
            end.stream.close()
    return outcome["client"], outcome["server"]


async def test_both_sides_learn_who_the_other_is(tmp_path):
    home = Home(tmp_path)
    client, server = await shake(home.identity("web"), home.identity("db"))
    assert client.identity.uri == home.uri("db")
    assert server.identity.uri == home.uri("web")
    assert client.alpn == server.alpn == b"http/1.1"
    connection = client.stream.connection
    assert connection.get_protocol_version_name() == "TLSv1.3"
    assert connection.get_cipher_name() == "TLS_AES_128_GCM_SHA256"
    assert connection.get_group_name() == "X25519MLKEM768"


async def test_the_principal_is_what_the_certificate_says(tmp_path):
    home = Home(tmp_path)
    left, right = sockets()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(home.identity("web").connect, left, "DB.example", frozenset({"spiffe://mesh.test/*"}))
        handshake = await home.identity("db").accept(right)
    peer = peer_of(right, handshake)
    assert peer.principal == b"mesh.test/ns/default/sa/web"
    assert (peer.namespace, peer.service_account, peer.trust_domain) == (b"default", b"web", b"mesh.test")
    assert peer.server_name == "db.example"  # names have no case, and a policy about one is not passed by another
    assert peer.spiffe_id == home.uri("web")
    handshake.stream.close()
    left.close()


async def test_a_server_that_is_somebody_else_is_refused(tmp_path):
    home = Home(tmp_path)
    client, _ = await shake(home.identity("web"), home.identity("db"), frozenset({home.uri("other")}))
    assert client == "wrong-identity"


async def test_another_ca_is_refused_by_both(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours, theirs = Home(tmp_path / "a"), Home(tmp_path / "b")
    client, _ = await shake(ours.identity("web"), theirs.identity("db"))
    assert client == "issuer-unknown"
    client, server = await shake(theirs.identity("web"), ours.identity("db"))
    assert "issuer-unknown" in (client, server)


async def test_a_revoked_client_is_refused_by_name(tmp_path):
    home = Home(tmp_path)
    web, _ = home.identity("web"), home.identity("db")
    record = home.authority.record(tmp_path / "web")
    home.authority.revoke([record.serial], time.time())
    _, server = await shake(web, home.load("db"))
    assert server == "revoked"


async def test_plaintext_and_silence_are_told_apart(tmp_path):
    home = Home(tmp_path)
    server = home.identity("db")
    left, right = sockets()
    left.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(HandshakeFailed) as caught:
        await server.accept(right)
    assert caught.value.code == "plaintext"
    left.close()
    left, right = sockets()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def give_up():
            await trio.testing.wait_all_tasks_blocked()
            SocketDeadline(0.0, right).sweep(1.0)

        with pytest.raises(HandshakeFailed) as caught:
            await server.accept(right)
    assert caught.value.code == "timeout"
    left.close()


@pytest.mark.parametrize(
    ("expected", "is_good"),
    [
        ({"spiffe://cluster.local/ns/default/sa/db"}, True),
        ({"spiffe://cluster.local/ns/default/sa/*"}, True),
        ({"spiffe://cluster.local/*"}, True),
        ({"spiffe://cluster.local/ns/default/sa/d"}, False),
        ({"spiffe://cluster.local/ns/def/*"}, False),
        ({"spiffe://cluster.loc/*"}, False),
        ({"spiffe://cluster.local/ns/default/sa/db/*"}, False),
        (set(), False),
    ],
)
def test_nobody_is_trusted_for_being_of_the_mesh_alone(expected, is_good):
    assert is_expected("spiffe://cluster.local/ns/default/sa/db", expected) is is_good
