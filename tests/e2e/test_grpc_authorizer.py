"""An authorizer of gRPC outside of a running sidecar, asked about callers that proved who they are, and in HTTP/2."""

import http.client
import json
import ssl

import grpc
import pytest
from support.grpc_authorizer import Authorizer, by_the_path
from support.grpc_peer import Client, address_of, start_app
from support.origin import Origin
from support.processes import until

CUSTOM = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask}
spec: {action: CUSTOM, provider: {name: door}, rules: [{}]}
"""
MODE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: mode}
spec: {mtls: {mode: %s}}
"""
GRPC = {"service": "door.test", "port": 80, "timeout": "2s"}


def sidecar(mesh, door, app, mode, protocol="auto", **more):
    mesh.policy("mode", MODE % mode)
    mesh.policy("ask", CUSTOM)
    mesh.entry("door.test", door.address, protocol="GRPC")
    return mesh.run(
        "server",
        inbound=[{"listen": "127.0.0.1:0", "app": app, "protocol": protocol}],
        extensionProviders=[{"name": "door", "envoyExtAuthzGrpc": GRPC | more}],
        telemetry={"accessLog": {"path": str(mesh.folder / "log")}},
    )


@pytest.mark.slow
def test_who_calls_is_said_by_the_certificate(mesh):
    with Origin() as app, Authorizer(by_the_path) as door:
        running = sidecar(mesh, door, app.address, "STRICT")
        host, _, port = running.address("inbound-0").rpartition(":")
        identity = mesh.identity("client")
        context = ssl.create_default_context(cafile=identity / "ca.crt")
        context.load_cert_chain(identity / "tls.crt", identity / "tls.key")
        context.check_hostname = False
        connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
        connection.request("GET", "/nothing?q=1", headers={"Host": "a.test"})
        assert connection.getresponse().status == 200
        mine = connection.sock.getsockname()
        connection.close()
        [asked] = door.take()
        source, destination = asked.source, asked.destination
        assert source.principal == "spiffe://mesh.test/ns/default/sa/client"
        assert (source.address.socket_address.address, source.address.socket_address.port_value) == mine
        assert destination.principal == "spiffe://mesh.test/ns/default/sa/server"
        assert destination.address.socket_address.port_value == int(port)
        assert asked.request.http.id == app.take()[0].header("x-request-id")
        [call] = door.calls
        assert call["x-request-id"] == asked.request.http.id
        assert 0 < call["left"] <= 2


@pytest.mark.slow
def test_calls_of_grpc_are_asked_about_too(mesh, tmp_path):
    def by_the_body(attributes, _context):
        return {"status": {"code": 7 if attributes.request.http.raw_body.endswith(b"bad") else 0}}

    process, path = start_app(tmp_path)
    body = {"maxRequestBytes": 100, "packAsBytes": True}
    with process, Authorizer(by_the_body) as door:
        running = sidecar(mesh, door, address_of(path), "DISABLE", "grpc", includeRequestBodyInCheck=body)
        with Client(running.address("inbound-0"), "a.test") as client:
            assert client.unary("Echo", b"good") == b"good"
            assert client.status("Echo", b"bad").code() == grpc.StatusCode.PERMISSION_DENIED
            assert client.status("Echo", b"x" * 200).code() == grpc.StatusCode.UNKNOWN
            assert client.unary("Echo", b"good") == b"good"
        first, second, _ = [each.request.http for each in door.take()]
        assert (first.protocol, first.method, first.path) == ("HTTP/2", "POST", "/test.Echo/Echo")
        assert (first.raw_body[5:], second.raw_body[5:]) == (b"good", b"bad")
        assert first.headers["content-type"] == "application/grpc"


@pytest.mark.slow
def test_what_went_wrong_is_in_the_log(mesh):
    with Origin() as app, Authorizer(by_the_path) as door:
        running = sidecar(mesh, door, app.address, "DISABLE")
        for path, status in (("/break", 403), ("/elsewhere", 403), ("/could-not", 503)):
            connection = http.client.HTTPConnection(running.address("inbound-0"), timeout=10)
            connection.request("GET", path, headers={"Host": "a.test"})
            assert connection.getresponse().status == status
            connection.close()
        log = mesh.folder / "log"
        lines = until(lambda: len(found := log.read_text().splitlines()) == 3 and found)
        found = [json.loads(line) for line in lines]
        assert [each["facts"]["ext_authz"] for each in found] == ["door failed"] * 3
        assert [each["facts"]["ext_authz_error"] for each in found] == [
            "grpc-status 14",
            "':path' is no name of a field, or not one to set",
            "the authorizer failed with 13",
        ]
        assert [(each["response_flags"], each["policy"]) for each in found] == [("UAEX", "default/ask")] * 3
