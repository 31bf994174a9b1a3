"""What is said beforehand is what happens: explain, test and simulate against a running sidecar."""

import itertools
import json

import pytest
from support.origin import Origin, ok
from support.processes import until
from support.wire import RawClient

from meshd.cli.main import main
from meshd.cli.sidecar import load_world
from meshd.explain.question import Question

POLICIES = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: readers, namespace: default}
    spec:
      rules:
        - to: [{operation: {methods: ["GET"], notPaths: ["/private*"]}}]
        - to: [{operation: {methods: ["POST"], paths: ["/orders/{*}"], hosts: ["shop.test"]}}]
          when: [{key: "request.headers[x-key]", values: ["secret"]}]
    ---
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: never, namespace: default}
    spec:
      action: DENY
      rules:
        - to: [{operation: {paths: ["*/admin"]}}]
    ---
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: plain, namespace: default}
    spec: {mtls: {mode: PERMISSIVE}}
"""
ROUTES = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: web, namespace: default}
    spec:
      parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web-test}]
      rules:
        - matches: [{path: {value: /old}}]
          filters: [{type: RequestRedirect, requestRedirect: {hostname: new.test, statusCode: 301}}]
        - matches: [{path: {type: Exact, value: /one}, headers: [{name: x-key, value: secret}]}, {method: PUT}]
          filters:
            - type: URLRewrite
              urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /rewritten}}
          backendRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web-test, port: 80}]
        - matches: [{path: {value: /broken}}]
          backendRefs: [{name: gone, port: 80}]
"""
METHODS = ("GET", "POST", "PUT")
HEADERS = ((), (("x-key", "secret"),), (("x-key", "secret"), ("x-key", "other")))


@pytest.fixture(scope="module")
def sidecar(shared_mesh, tmp_path_factory):
    """One that serves both ways, its document, and its access log."""
    with Origin() as origin:
        origin.behave = lambda wire, request: wire.sock.sendall(ok(request.target.encode()))
        shared_mesh.policy("all", POLICIES)
        shared_mesh.policy("routes", ROUTES)
        shared_mesh.entry("web.test", origin.address)
        log = tmp_path_factory.mktemp("log") / "access.log"
        running = shared_mesh.run(
            "server",
            inbound=[{"listen": "127.0.0.1:0", "app": origin.address}],
            outbound=[{"listen": "127.0.0.1:0"}],
            telemetry={"otlp": None, "accessLog": {"path": str(log)}},
        )
        running.document, running.access_log = shared_mesh.folder / "server.proxy.yaml", log
        yield running


def ask(running, question):
    """Status and body that a client gets."""
    with RawClient(running.address("inbound-0" if question.inbound else "outbound-0")) as client:
        client.send(question.octets().replace(b"\r\n\r\n", b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"))
        client.read_until(lambda: client.closed, 10)
        head, _, body = client.received.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


def questions():
    targets = ("/", "/private/x", "/orders/1", "/orders/1/2", "/x/admin", "/a/../x/admin", "/%2e%2e", "/orders//1?q=1")
    for method, target, authority, headers in itertools.product(METHODS, targets, ("shop.test", "b.test"), HEADERS):
        yield Question(method, target, authority, headers=headers)
    for method, target, headers in itertools.product(METHODS, ("/", "/old/x", "/one", "/broken"), HEADERS):
        yield Question(method, target, "web.test", headers=headers, inbound=False)
    yield Question("GET", "/", "elsewhere.test", inbound=False)


def test_every_answer_is_what_happens(sidecar):
    world = load_world(sidecar.document, None)[1]
    kinds = set()
    for question in questions():
        answer = world.ask(question)
        status, body = ask(sidecar, question)
        assert status == (answer.status or 200), (question, answer)
        if answer.kind == "forwarded":
            assert body == answer.forwarded.split(" ")[2], (question, answer)
        kinds.add(answer.kind)
    assert kinds == {"forwarded", "denied", "malformed", "answered", "no backend", "no route"}


def test_the_log_of_it_replays_without_a_change(sidecar, capsys):
    expected = sum(answer.kind != "malformed" for answer in map(load_world(sidecar.document, None)[1].ask, questions()))
    for question in questions():
        ask(sidecar, question)

    def is_written():
        text = sidecar.access_log.read_text()
        return text.count("\n") >= expected and text.endswith("\n")

    until(is_written, what="the access log")
    assert main(["simulate", "-f", str(sidecar.document), "--log", str(sidecar.access_log), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["changed"], told["unreadable"]) == (0, 0)
    assert told["same"] >= expected / 2


def test_the_last_denied_is_explained(sidecar, capsys):
    status, _ = ask(sidecar, Question("PUT", "/last", "shop.test"))
    assert status == 403
    words = ["explain", "--last-denied", "--admin", sidecar.address("admin"), "-f", str(sidecar.document), "--json"]

    def last():
        main(words)
        told = json.loads(capsys.readouterr().out)
        return told if told["records"][0]["path"] == "/last" else None

    told = until(last, what="the record of the denied request")
    assert told["records"][0]["verdict"]["failed"] == 'methods: ["POST"]'
    assert told["now"]["outcome"]["details"] == told["records"][0]["response_code_details"]
