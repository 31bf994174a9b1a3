"""Programs that write head and body separately, with Nagle's algorithm on: the second write waits until the first is
acknowledged, which the kernel of whoever reads puts off by 40 ms once a connection goes to and fro."""

import socket
import time

import pytest
from support.origin import Origin
from support.processes import until

ROUNDS = 12
DELAYED = 0.036  # seconds; the kernel's least is 40 ms
PLAIN = """
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: plain, namespace: default}
    spec: {mtls: {mode: DISABLE}}
"""
ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: all, namespace: default}
    spec: {rules: [{}]}
"""


def in_two_writes(wire, request):
    wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    wire.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    wire.sock.sendall(b"ok")


class Caller:
    """A connection that is kept, and how long its exchanges take."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), timeout=20)

    def exchange(self, *writes):
        """Seconds from the first of these writes to the end of the response."""
        began = time.perf_counter()
        for each in writes:
            self.sock.sendall(each)
        octets = b""
        while not octets.endswith(b"\r\n\r\nok"):
            octets += self.sock.recv(65536)
            assert octets.startswith(b"HTTP/1.1 200"), octets
        return time.perf_counter() - began


def quickest(address, *writes):
    """Among the quicker half of several, on one connection: what a busy machine cannot make less.

    The first may be quick whatever is set: so is the beginning of every connection.
    """
    caller = Caller(address)
    with caller.sock:
        return sorted(caller.exchange(*writes) for _ in range(ROUNDS))[4]


@pytest.fixture(scope="module")
def servers(shared_mesh):
    """A sidecar with a listener that acknowledges at once and one that does not, before an app and for its calls."""
    shared_mesh.policy("plain", PLAIN)
    shared_mesh.policy("allow", ALLOW)
    with Origin(in_two_writes) as origin:
        shared_mesh.entry("app.test", origin.address)
        pairs = {"listen": "127.0.0.1:0", "app": origin.address}, {"listen": "127.0.0.1:0"}
        inbound, outbound = ([each, {**each, "quickAck": False}] for each in pairs)
        yield shared_mesh.run("server", inbound=inbound, outbound=outbound)


@pytest.mark.parametrize(("listener", "is_delayed"), [("inbound-0", False), ("inbound-1", True)])
def test_an_app_that_writes_head_and_body_separately_is_not_kept_waiting(servers, listener, is_delayed):
    get = b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"
    assert (quickest(servers.address(listener), get) > DELAYED) is is_delayed


def test_nor_is_one_that_no_sidecar_stands_before(servers):
    get = b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"
    assert quickest(servers.address("outbound-0"), get) < DELAYED


@pytest.mark.parametrize(("listener", "is_delayed"), [("outbound-0", False), ("outbound-1", True)])
def test_a_client_that_writes_head_and_body_separately_is_not_kept_waiting(servers, listener, is_delayed):
    head = b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\n"
    assert (quickest(servers.address(listener), head, b"hi") > DELAYED) is is_delayed


def test_a_policy_says_so_for_a_service(servers, shared_mesh):
    shared_mesh.policy(
        "slow",
        """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: slow, namespace: default}
    spec: {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: app-test}], socket: {quickAck: false}}
""",
    )
    servers.signal(1)
    get = b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"
    until(lambda: quickest(servers.address("outbound-0"), get) > DELAYED, what="responses that are kept waiting")
