"""The mTLS cases in which certificates, lists or time change while a sidecar runs, or a hook of the library crashes."""

import contextlib
import http.client
import shutil
import socket
import ssl
import threading
import time

import pytest
import trio
from support.mtls_rig import REQUEST, ROWS
from support.origin import Origin
from support.processes import until
from support.wire import RawClient

from meshd.identity import rotation
from meshd.identity.ca import Authority, Order
from meshd.identity.credentials import load_credentials
from meshd.identity.spiffe import SpiffeId
from meshd.net import verify
from meshd.net.tls import HandshakeFailed, TlsIdentity

LIFE = 4.0  # seconds, of certificates that are to run out during a test


class Service:
    """A sidecar in front of an app, asked over a fresh connection each time."""

    def __init__(self, mesh, origin, name, **order) -> None:
        self.mesh = mesh
        self.origin = origin
        self.folder = mesh.identity(name, **order)
        self.sidecar = mesh.run(name, inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        self.address = self.sidecar.address("inbound-0")

    def context(self, folder, trust=None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations((trust or self.folder) / "ca.crt")
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        return context

    def connect(self, context, session=None, listener="inbound-0") -> RawClient:
        def wrap(sock):
            return context.wrap_socket(sock, session=session)

        return RawClient(self.sidecar.address(listener), wrap)

    def is_served(self, context, session=None) -> bool:
        """Whether a request on a new connection reaches the app; a connection that merely resumes one is not new."""
        with contextlib.suppress(OSError), self.connect(context, session) as client:
            assert not client.sock.session_reused
            return asked(client)
        return False

    def serial(self, context) -> int:
        with self.connect(context) as client:
            return client.sock.getpeercert()["serialNumber"]

    def admin(self, page) -> tuple[int, str]:
        host, _, port = self.sidecar.address("admin").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            connection.request("GET", page)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def refusals(self) -> int:
        return self.sidecar.log.count("reload refused: certificates")


def asked(client) -> bool:
    """Whether a request on this connection is answered by the app."""
    client.received = b""
    client.send(REQUEST)
    client.read_until(lambda: client.closed or b"\r\n\r\nok" in client.received, 10)
    return client.received.endswith(b"\r\n\r\nok")


def put(folder, **files) -> None:
    """Replace files, each at one stroke; names with '_' for '.'."""
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        fresh = path.with_suffix(".fresh")
        fresh.write_bytes(content)
        fresh.rename(path)


def issued(mesh, folder, name="service", when=None, **order):
    """New credentials for an identity, in a folder of their own."""
    spiffe_id = SpiffeId.parse(f"spiffe://mesh.test/ns/default/sa/{name}")
    mesh.authority.issue(Order(spiffe_id, folder, **order), when or time.time())
    return folder


@contextlib.contextmanager
def load(service, context):
    """Clients that connect and ask, one after the other; yields what failed."""
    failed, over, done = [], threading.Event(), []

    def ask():
        while not over.is_set():
            (done if service.is_served(context) else failed).append(1)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
    assert len(done) > 10


@pytest.fixture(scope="module")
def service(shared_mesh):
    with Origin() as origin:
        yield Service(shared_mesh, origin, "service")


@pytest.fixture(scope="module")
def friend(service):
    return service.context(service.mesh.identity("friend"))


@pytest.fixture
def stranger(service, tmp_path):
    """Of another authority that goes by the same name."""
    with Authority.create(tmp_path / "other", "mesh.test", time.time()) as other:
        other.issue(Order(SpiffeId.parse("spiffe://mesh.test/ns/default/sa/friend"), tmp_path / "id"), time.time())
    return service.context(tmp_path / "id")


@pytest.fixture(scope="module", autouse=True)
def short_lived(shared_mesh, service, tmp_path_factory):
    """Begun before all other tests, so that nobody waits: a client, and a sidecar, whose certificates run out."""
    began = time.time()
    client = issued(shared_mesh, tmp_path_factory.mktemp("short") / "id", "brief", began - 3600 + LIFE, ttl=3600)
    context = service.context(client)
    with service.connect(context) as connection:
        assert asked(connection)
        issued(shared_mesh, shared_mesh.folder / "id-mortal", "mortal", began - 3600 + 2 * LIFE, ttl=3600)
        mortal = Service(shared_mesh, service.origin, "mortal")
        yield context, connection, mortal, began


def test_mtls_rotate_leaf(service, friend, tmp_path):
    before = service.serial(friend)
    fresh = issued(service.mesh, tmp_path / "fresh")
    with load(service, friend) as failed:
        put(service.folder, tls_key=(fresh / "tls.key").read_bytes(), tls_crt=(fresh / "tls.crt").read_bytes())
        until(lambda: service.serial(friend) != before, 10, "the new certificate")
    assert not failed


def test_mtls_rotate_key_first(service, friend, tmp_path):
    before, refusals = service.serial(friend), service.refusals()
    fresh = issued(service.mesh, tmp_path / "fresh")
    put(service.folder, tls_key=(fresh / "tls.key").read_bytes())
    until(lambda: service.refusals() > refusals, 10, "the refusal")
    assert "is not the key of" in service.sidecar.log
    assert service.serial(friend) == before
    assert service.is_served(friend)
    put(service.folder, tls_crt=(fresh / "tls.crt").read_bytes())
    until(lambda: service.serial(friend) != before, 10, "the new certificate")
    assert service.refusals() == refusals + 1  # told once


@pytest.mark.parametrize("name", ["mtls-rotate-garbage", "mtls-rotate-expired", "mtls-rotate-empty-bundle"])
def test_what_cannot_be_used_changes_nothing(service, friend, stranger, tmp_path, name):
    before, refusals = service.serial(friend), service.refusals()
    kept = {each: (service.folder / each.replace("_", ".")).read_bytes() for each in ("tls_crt", "tls_key", "ca_crt")}
    if name == "mtls-rotate-garbage":
        put(service.folder, tls_crt=kept["tls_crt"][: len(kept["tls_crt"]) // 2])
    elif name == "mtls-rotate-expired":
        late = issued(service.mesh, tmp_path / "late", when=time.time() - 7200, ttl=3600)
        put(service.folder, tls_key=(late / "tls.key").read_bytes(), tls_crt=(late / "tls.crt").read_bytes())
    else:
        put(service.folder, ca_crt=b"")
    until(lambda: service.refusals() > refusals, 10, "the refusal")
    until(lambda: "meshd_config_ok 0" in service.admin("/metrics")[1], 10, "the metric")
    assert service.admin("/ready")[0] == 200
    assert service.serial(friend) == before
    assert service.is_served(friend)
    assert not service.is_served(stranger)
    put(service.folder, **kept)
    until(lambda: "meshd_config_ok 1" in service.admin("/metrics")[1], 10, "the metric")


def test_mtls_revoke_live_and_resume_after_revoke(service):
    folder = service.mesh.identity("traitor")
    context = service.context(folder)
    with service.connect(context) as client:
        assert asked(client)
        session = client.sock.session
        service.mesh.authority.revoke([service.mesh.authority.record(folder).serial], time.time())
        service.mesh.authority.publish(time.time())
        until(lambda: not service.is_served(context), 10, "the refusal")
        client.read_until(lambda: client.closed, 5)
        assert client.closed  # the one that was open ends as well
    assert not service.is_served(context, session)
    assert "revoked" in service.sidecar.log


def test_mtls_resume_other_listener(service, friend):
    """The one that asks for no certificate of its clients gives them nothing that another would take."""
    with service.connect(friend) as client:
        assert asked(client)
        session = client.sock.session
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.check_hostname = False
    nameless.load_verify_locations(service.folder / "ca.crt")
    assert not service.is_served(nameless)
    assert service.is_served(friend, session)


def test_mtls_resume_after_expiry_and_long_conn_expiry(service, short_lived):
    context, connection, _, began = short_lived
    until(lambda: time.time() > began + LIFE + 1, 20, "the end of the certificate")
    assert not service.is_served(context, connection.sock.session)
    assert "expired" in service.sidecar.log
    asked(connection)  # one that was open before may go on or end
    assert connection.closed or connection.received.endswith(b"ok")


def test_mtls_own_expired(service, short_lived):
    _, _, mortal, began = short_lived
    assert "meshd_certificate_expiry" in mortal.admin("/metrics")[1]
    until(lambda: time.time() > began + 2 * LIFE + 1, 20, "the end of the certificate")
    until(lambda: mortal.admin("/ready") == (503, "the certificate has expired\n"), 10, "the loss of readiness")
    assert not mortal.is_served(mortal.context(service.mesh.identity("friend")))


def test_mtls_rotate_ca_overlap_and_resume_after_policy(service, tmp_path):
    """Last, because it renews everything. No client is refused on the way; in the end the old root is of no use."""
    mesh, authority = service.mesh, service.mesh.authority
    for name in ("old", "new"):
        mesh.identity(name)
    old = service.context(shutil.copytree(mesh.identity("old"), tmp_path / "old"))
    rotation.start(authority, time.time())
    both = service.context(shutil.copytree(mesh.identity("old"), tmp_path / "both"))
    with service.connect(both) as client:
        assert asked(client)
        session = client.sock.session
    with load(service, both) as failed:
        generation = service.admin("/server_info")[1]
        until(lambda: service.admin("/server_info")[1] != generation, 10)
        rotation.finish(authority, time.time())
        for folder in authority.folders():
            if not authority.record(folder).revoked:
                authority.renew(folder, time.time())
        new = service.context(mesh.identity("new"))
        until(lambda: service.is_served(new), 10, "the new root")
    assert not failed
    assert service.is_served(both)
    rotation.retire(authority, time.time(), force=True)
    until(lambda: not service.is_served(both), 10, "the refusal")
    assert not service.is_served(both, session)
    assert not service.is_served(old)
    assert service.is_served(new)


@pytest.mark.parametrize("name", ["mtls-verify-callback-raises", "mtls-sni-callback-raises"])
async def test_a_hook_that_crashes_ends_the_handshake(mesh, monkeypatch, name):
    """In this process, because only here can a hook be made to crash."""

    def crash(*_):
        raise RuntimeError("crash")

    if name == "mtls-verify-callback-raises":
        monkeypatch.setattr(verify, "judge", crash)
    folder = mesh.identity("server")
    identity = TlsIdentity(load_credentials(folder, "mesh.test", time.time()))
    if name == "mtls-sni-callback-raises":
        identity._server.set_tlsext_servername_callback(crash)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(folder / "ca.crt")
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    near, far = socket.socketpair()
    far.setblocking(False)

    heard = []

    def ask() -> bytes:
        with contextlib.suppress(OSError), context.wrap_socket(near, server_hostname="server") as sock:
            return sock.recv(100)
        return b""

    async def ask_beside():
        heard.append(await trio.to_thread.run_sync(ask))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_beside)
        with pytest.raises((RuntimeError, HandshakeFailed)):
            await identity.accept(far)
    assert far.fileno() == -1
    assert heard == [b""]


def test_every_row_with_an_action_is_here():
    judged = {
        *("mtls-revoke-live", "mtls-resume-after-policy", "mtls-resume-after-expiry", "mtls-resume-other-listener"),
        *("mtls-resume-after-revoke", "mtls-long-conn-expiry", "mtls-rotate-leaf", "mtls-rotate-key-first"),
        *("mtls-rotate-garbage", "mtls-rotate-expired", "mtls-rotate-ca-overlap", "mtls-rotate-empty-bundle"),
        *("mtls-own-expired", "mtls-sni-callback-raises", "mtls-verify-callback-raises"),
    }
    assert judged == {name for name, row in ROWS.items() if "action" in row}
