"""gRPC through a pair of sidecars, with a real client and a real server of it."""

import json
import os
import signal
from concurrent import futures

import grpc
import pytest
from support.grpc_peer import PATIENCE, Client, Typist, address_of, refusal, start_app
from support.processes import until

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec:
      rules:
        - from: [{source: {principals: ["mesh.test/ns/default/sa/client"]}}]
          to: [{operation: {notPaths: ["/test.Echo/Secret"]}}]
"""
MIB = 1024 * 1024
Status = grpc.StatusCode


@pytest.fixture(scope="module")
def pair(shared_mesh, tmp_path_factory):
    """The client's sidecar. Behind the server's is the app as gRPC and as nobody told, and a mortal one; the app is
    also called without a sidecar of its own."""
    app, path = start_app(tmp_path_factory.mktemp("app"))
    mortal, mortal_path = start_app(tmp_path_factory.mktemp("mortal"))
    with app, mortal:
        shared_mesh.policy("allow", ALLOW)
        addresses = address_of(path), address_of(mortal_path)
        server = shared_mesh.run(
            "server",
            inbound=[
                {"listen": "127.0.0.1:0", "app": addresses[0], "protocol": "grpc"},
                {"listen": "127.0.0.1:0", "app": addresses[0], "protocol": "auto"},
                {"listen": "127.0.0.1:0", "app": addresses[1], "protocol": "grpc"},
            ],
        )
        for host, inbound in (("echo", 0), ("auto", 1), ("mortal", 2)):
            address = server.address(f"inbound-{inbound}")
            shared_mesh.entry(f"{host}.test", address, mesh=True, account="server", protocol="GRPC")
        shared_mesh.entry("direct.test", addresses[0], protocol="GRPC")
        shared_mesh.entry("untold.test", addresses[0], protocol="HTTP")
        client = shared_mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        yield client
    for sidecar in (client, server):
        assert "Traceback" not in sidecar.log


@pytest.fixture(scope="module")
def echo(pair):
    with Client(pair.address("outbound-0"), "echo.test") as client:
        yield client


def to(pair, host):
    return Client(pair.address("outbound-0"), host)


@pytest.mark.parametrize("host", ["echo.test", "auto.test", "direct.test", "untold.test"])
def test_the_four_kinds_of_calls(pair, host):
    with to(pair, host) as client:
        assert client.unary("Echo", b"hello") == b"hello"
        assert client.unary("Echo", b"") == b""
        assert client.up("Join", iter([b"a", b"", b"b", b"c"])) == b"abc"
        assert client.up("Join", iter([])) == b""
        assert list(client.down("Count", b"5")) == [b"0", b"1", b"2", b"3", b"4"]
        assert list(client.down("Count", b"0")) == []
        assert list(client.both("Chat", iter([b"a", b"b"]))) == [b"re: a", b"re: b"]


def test_each_side_of_a_conversation_waits_for_the_other(echo):
    typist = Typist()
    answers = echo.both("Chat", typist)
    for number in range(20):
        typist.say(b"%d" % number)
        assert next(answers) == b"re: %d" % number
    typist.stop()
    assert list(answers) == []
    assert answers.code() is Status.OK


def test_metadata_goes_both_ways(echo):
    sent = (("x-plain", "a b"), ("x-twice", "1"), ("x-twice", "2"), ("x-raw-bin", bytes(range(256))))
    answer, call = echo.channel.unary_unary("/test.Echo/Fields").with_call(b"", PATIENCE, metadata=sent)
    fields = [tuple(pair) for pair in json.loads(answer)["fields"]]
    for name, value in sent:
        assert (name, value.hex() if isinstance(value, bytes) else value) in fields
    first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert (first["x-first"], first["x-first-bin"]) == ("1", bytes(range(256)))
    assert (last["x-last"], last["x-last-bin"]) == ("2", b"\0\xff")


@pytest.mark.parametrize("code", ["NOT_FOUND", "UNAVAILABLE", "INTERNAL", "DATA_LOSS", "UNAUTHENTICATED"])
def test_a_status_keeps_its_message_and_its_details(echo, code):
    details = bytes(range(200))
    request = {"code": code, "message": "50 % größer\nthan it was", "details": details.hex()}
    error = echo.status("Fail", json.dumps(request).encode())
    assert (error.code(), error.details()) == (Status[code], request["message"])
    assert dict(error.trailing_metadata())["grpc-status-details-bin"] == details


def test_a_method_that_nobody_implements(echo):
    assert echo.status("Nothing").code() is Status.UNIMPLEMENTED


def test_large_messages_both_ways(echo):
    message = os.urandom(16 * MIB)
    assert echo.unary("Echo", message) == message


def test_large_streams_both_ways(echo):
    assert sum(map(len, echo.down("Flood", b"48"))) == 48 * MIB
    assert echo.up("Size", (bytes(MIB) for _ in range(48))) == b"%d" % (48 * MIB)


def test_a_deadline_ends_the_call(echo):
    assert echo.status("Hang", b"deadline", timeout=0.3).code() is Status.DEADLINE_EXCEEDED
    until(lambda: echo.unary("State", b"deadline") == b"cancelled", what="the app hears of it")


def test_a_cancellation_reaches_the_server(echo):
    answers = echo.down("Wait", b"cancelled")
    assert next(answers) == b"waiting"
    answers.cancel()
    until(lambda: echo.unary("State", b"cancelled") == b"cancelled", what="the app hears of it")


def test_a_cancellation_before_any_answer_reaches_the_server(echo):
    call = echo.future("Hang", b"early")
    until(lambda: echo.unary("State", b"early") == b"waits", what="the app has it")
    call.cancel()
    until(lambda: echo.unary("State", b"early") == b"cancelled", what="the app hears of it")


def test_a_server_that_dies_is_unavailable(pair):
    with to(pair, "mortal.test") as client:
        answers = client.down("Die")
        assert next(answers) == b"last words"
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() is Status.UNAVAILABLE
        error = client.status("Echo")
        assert error.code() is Status.UNAVAILABLE
        assert "connect" in error.details()


def test_a_denial_is_a_status(echo):
    error = echo.status("Secret")
    assert error.code() is Status.PERMISSION_DENIED
    assert error.details() == "RBAC: access denied"
    assert "rbac_access_denied" in dict(error.trailing_metadata())["proxy-status"]


def test_a_host_nobody_knows_is_a_status(pair):
    with to(pair, "nobody.test") as client:
        error = client.status("Echo")
        assert error.code() is Status.UNIMPLEMENTED
        assert error.details() == "no route for this request: no service is known as 'nobody.test'"


def test_many_streams_on_one_channel(echo):
    typists = [Typist() for _ in range(100)]
    streams = [echo.both("Chat", typist) for typist in typists]
    for number, typist in enumerate(typists):
        typist.say(b"%d" % number)
    assert [next(stream) for stream in streams] == [b"re: %d" % number for number in range(100)]
    for typist in typists:
        typist.stop()
    assert [list(stream) for stream in streams] == [[]] * 100


def test_many_calls_at_a_time(echo):
    with futures.ThreadPoolExecutor(50) as pool:
        bodies = [b"%d" % number * 1000 for number in range(500)]
        assert list(pool.map(lambda body: echo.unary("Echo", body), bodies)) == bodies


def test_a_stream_that_nobody_reads_does_not_stall_its_siblings(echo):
    stalled = echo.down("Flood", b"64")
    assert len(next(stalled)) == MIB
    for number in range(50):
        assert echo.unary("Echo", b"%d" % number * 10_000) == b"%d" % number * 10_000
    assert sum(map(len, stalled)) == 63 * MIB


@pytest.fixture
def own_pair(mesh, tmp_path):
    """Two sidecars of the test's own, to end: a function that starts them, given how long they drain."""
    mesh.policy("allow", ALLOW)
    app, path = start_app(tmp_path)

    def start(drain):
        inbound = [{"listen": "127.0.0.1:0", "app": address_of(path), "protocol": "grpc"}]
        server = mesh.run("server", inbound=inbound, drain=drain)
        mesh.entry("echo.test", server.address("inbound-0"), mesh=True, account="server", protocol="GRPC")
        return {"client": mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}], drain=drain), "server": server}

    with app:
        yield start


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_sidecar_that_ends_lets_its_streams_finish(own_pair, side):
    sidecars = own_pair("10s")
    leaving = sidecars[side]
    with to(sidecars["client"], "echo.test") as channel:
        typist = Typist()
        answers = channel.both("Chat", typist)
        typist.say(b"before")
        assert next(answers) == b"re: before"
        leaving.signal(signal.SIGTERM)
        until(lambda: refusal(channel) is Status.UNAVAILABLE, what="new calls are refused")
        for number in range(5):
            typist.say(b"%d" % number)
            assert next(answers) == b"re: %d" % number
        typist.stop()
        assert list(answers) == []
        assert answers.code() is Status.OK
        assert leaving.process.wait(20) == 0


@pytest.mark.parametrize("side", ["client", "server"])
def test_what_goes_on_when_the_drain_is_over_ends_with_a_status(own_pair, side):
    sidecars = own_pair("500ms")
    leaving = sidecars[side]
    with to(sidecars["client"], "echo.test") as channel:
        answers = channel.down("Wait", timeout=None)
        assert next(answers) == b"waiting"
        call = channel.future("Hang", b"drained", timeout=None)
        until(lambda: channel.unary("State", b"drained") == b"waits", what="the app has it")
        leaving.signal(signal.SIGTERM)
        for end in (lambda: next(answers), lambda: call.result(PATIENCE)):
            with pytest.raises(grpc.RpcError) as caught:
                end()
            assert (caught.value.code(), caught.value.details()) == (Status.UNAVAILABLE, "drain_deadline")
        assert leaving.process.wait(20) == 0
