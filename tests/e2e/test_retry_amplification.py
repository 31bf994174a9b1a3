"""Two sidecars and an app in trouble: how often the app is asked for one request of a client's."""

import threading
import time

import pytest
from support.origin import Hangup, Reset, ok
from support.wire import RawClient

MANY = 12


def policy(name, spec):
    return f"""
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {{name: {name}, namespace: default}}
    spec: {{targetRefs: [{{kind: ServiceEntry, name: {name}-test}}], {spec}}}
"""


POLICIES = {
    "once.test": policy("once", "timeout: 0s"),
    "never.test": policy("never", "retry: {attempts: 0}"),
    "thrice.test": policy("thrice", "retry: {attempts: 3, backoff: {base: 1ms, max: 2ms}}"),
}
ATTEMPTS = {"once.test": 1, "never.test": 0, "thrice.test": 3}


def reset(wire, request):
    raise Reset


def hang_up(wire, request):
    raise Hangup


def fail(status):
    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

    return behave


def talk_nonsense(wire, request):
    wire.sock.sendall(b"220 mail.test ESMTP\r\n")
    raise Hangup


def claim(error):
    """An app that says what only its sidecar may say."""

    def behave(wire, request):
        own = b'Proxy-Status: "server.default"; error=' + error + b"; unprocessed\r\n"
        wire.sock.sendall(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n" + own + b"\r\n")

    return behave


TROUBLE = {
    "reset": reset,
    "hang up": hang_up,
    "502": fail(502),
    "503": fail(503),
    "504": fail(504),
    "500": fail(500),
    "nonsense": talk_nonsense,
    "claims to be unreachable": claim(b"connection_refused"),
    "claims to have timed out": claim(b"http_response_timeout"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("host", POLICIES)
def test_one_side_tries_again_and_never_both(pair, host, trouble):
    pair.origin.behave = TROUBLE[trouble]
    for number in range(MANY):
        assert pair.call(host, f"/{number}").status >= 500
    asked = [request.target for request in pair.origin.take()]
    assert {asked.count(f"/{number}") for number in range(MANY)} <= set(range(1, ATTEMPTS[host] + 2))


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("host", POLICIES)
def test_a_post_is_asked_for_once_whatever_becomes_of_it(pair, host, trouble):
    pair.origin.behave = TROUBLE[trouble]
    for number in range(MANY):
        assert pair.call(host, f"/{number}", "POST", b"x").status >= 500
    asked = sorted(request.target for request in pair.origin.take())
    assert asked == sorted(f"/{number}" for number in range(MANY))


def test_a_get_that_the_app_broke_off_is_asked_for_again_by_the_caller(pair):
    def behave(wire, request):
        if len(pair.origin.requests) == 1:
            raise Reset
        wire.sock.sendall(ok())

    pair.origin.behave = behave
    assert pair.call("once.test", "/once-broken").body == b"ok"
    assert len(pair.origin.take()) == 2
    assert pair.logged("/once-broken")["attempts"] == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_app_that_is_down_is_told_to_the_caller_as_never_asked(shared_mesh, pair, method):
    """Behind its sidecar, where nobody but the caller can go elsewhere; a POST may."""
    down = shared_mesh.run("server-down", inbound=[{"listen": "127.0.0.1:0", "app": "127.0.0.1:1"}])
    name = f"{method.lower()}-two.test"
    shared_mesh.entry(name, pair.server.address("inbound-0"), down.address("inbound-0"), mesh=True)
    client = shared_mesh.run(f"client-{method.lower()}", outbound=[{"listen": "127.0.0.1:0"}])
    pair.address, before = client.address("outbound-0"), pair.address
    try:
        for number in range(8):
            assert pair.call(name, f"/{number}", method, b"x" if method == "POST" else None).status == 200
        asked = sorted(request.target for request in pair.origin.take())
        assert asked == sorted(f"/{number}" for number in range(8))
    finally:
        pair.address = before


def test_a_response_may_take_as_long_as_it_likes(pair):
    """Longer than the fifteen seconds that Envoy gives it by itself; what documents say is in the units of routes."""
    over = threading.Event()

    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(17):
            wire.sock.sendall(b"4\r\ntick\r\n")
            time.sleep(1)
        wire.sock.sendall(b"0\r\n\r\n")
        over.set()

    pair.origin.behave = behave
    assert pair.call("once.test", "/events").body == b"tick" * 17
    assert over.is_set()
    assert len(pair.origin.take()) == 1


@pytest.mark.parametrize("offer", ["TLS/1.2", "HTTP/2.0", "IRC/6.9"])
def test_an_upgrade_that_nobody_serves_costs_neither_keep_alive_nor_retries(pair, offer):
    """Apache HttpClient offers TLS with every request."""

    def behave(wire, request):
        if len(pair.origin.requests) == 1:
            raise Reset
        wire.sock.sendall(ok())

    pair.origin.behave = behave
    with RawClient(pair.address) as client:
        for number in range(3):
            client.send(f"GET /{number} HTTP/1.1\r\nHost: once.test\r\nUpgrade: {offer}\r\n".encode())
            client.send(b"Connection: Upgrade, keep-alive\r\n\r\n")
            assert client.read_until(lambda number=number: len(client.responses()) > number, 10)
        assert [each[0] for each in client.responses()] == [200] * 3
        assert not client.closed
    asked = pair.origin.take()
    assert [request.target for request in asked] == ["/0", "/0", "/1", "/2"]
    offered = {request.header("upgrade") for request in asked}
    assert offered == ({"IRC/6.9"} if offer == "IRC/6.9" else {None})


def test_under_load_an_app_that_resets_everything_is_asked_for_a_fifth_more(pair):
    """Over the pair, and with two workers, whose floors are one."""
    pair.origin.behave = reset
    each, threads = 100, 8
    statuses = []

    def run():
        with RawClient(pair.address) as client:
            for _ in range(each):
                client.received = b""
                client.send(b"GET /load HTTP/1.1\r\nHost: thrice.test\r\n\r\n")
                assert client.read_until(client.responses, 20)
                statuses.append(client.responses()[0][0])

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(120)
    assert statuses == [502] * each * threads
    asked = len(pair.origin.take())
    assert each * threads < asked <= each * threads * 1.2
