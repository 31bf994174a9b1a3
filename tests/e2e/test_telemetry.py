"""Spans of a pair of sidecars, as a real OTLP collector receives them, over HTTP and over gRPC.

The requests are all sent first, then the collector is waited for once; each test looks at what became of one of them.
"""

import http.client
import json
import secrets
from dataclasses import dataclass, field

import pytest
from support.collector import GrpcCollector, HttpCollector, attributes
from support.conventions import wrong
from support.origin import Hangup, Origin, Recorded, ok
from support.processes import free_port, until

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec:
      rules:
        - from: [{source: {principals: ["mesh.test/ns/default/sa/client"]}}]
          to: [{operation: {notPaths: ["/secret"]}}]
"""
ROUTE = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: reviews, namespace: default}
    spec:
      parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: reviews-test}]
      rules:
        - matches: [{path: {type: PathPrefix, value: /reviews}}]
          backendRefs: [{group: networking.istio.io, kind: Hostname, name: reviews.test, port: 80}]
        - backendRefs: [{group: networking.istio.io, kind: Hostname, name: reviews.test, port: 80}]
"""
PARENT = "b7ad6b7169203331"
SERVER, CLIENT = "SERVER", "CLIENT"


@dataclass
class Asked:
    """One request, what the app saw of it, and its spans by who sent them and of which kind, the earliest first."""

    trace: str
    status: int
    arrived: list[Recorded]
    spans: dict = field(default_factory=dict)

    def one(self, service, kind):
        (span,) = self.spans[service, kind]
        return span


def get(address, path="/", **fields):
    """The status and body of a GET."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request("GET", path, headers=fields)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def answer(wire, request):
    """The app: what the path asks for."""
    if request.target == "/missing":
        wire.sock.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    else:
        wire.sock.sendall(ok())


class BreaksOnce:
    """An app that drops the first request of each trace."""

    def __init__(self):
        self.known = set()

    def __call__(self, wire, request):
        trace = request.header("traceparent").split("-")[1]
        if trace not in self.known:
            self.known.add(trace)
            raise Hangup
        wire.sock.sendall(ok())


def spans_of(collector, trace):
    """The spans of one trace by who sent them and their kind."""
    found = {}
    for message in collector.traces:
        for resource in message.resource_spans:
            service = attributes(resource.resource)["service.name"]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                if span.trace_id.hex() == trace:
                    kind = span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
                    found.setdefault((service, kind), []).append(span)
    for spans in found.values():
        spans.sort(key=lambda span: span.start_time_unix_nano)
    return found


def parent_of(request):
    """The span that a request's traceparent names."""
    return request.header("traceparent").split("-")[2]


@pytest.fixture(scope="module", params=[HttpCollector, GrpcCollector], ids=["http", "grpc"])
def asked(request, shared_mesh):
    """Every request by name, its spans collected."""
    collector = request.param()
    otlp = {"endpoint": collector.endpoint, "protocol": collector.protocol}
    options = {"telemetry": {"otlp": otlp, "accessLog": None}}
    with Origin(answer) as app, Origin(BreaksOnce()) as breaks:
        shared_mesh.policy("allow", ALLOW)
        server = shared_mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": app.address}], **options)
        shared_mesh.entry("reviews.test", server.address("inbound-0"), mesh=True, account="server")
        shared_mesh.entry("breaks.test", breaks.address)
        shared_mesh.policy("route", ROUTE)
        client = shared_mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}], **options)

        def ask(path, *, host="reviews.test", trace=None, flags="01"):
            trace = secrets.token_hex(16) if trace is None else trace
            given = {"traceparent": f"00-{trace}-{PARENT}-{flags}"} if trace else {}
            fields = {"host": host, "user-agent": "test/1", **given}
            status, _ = get(client.address("outbound-0"), path, **fields)
            arrived = app.take() + breaks.take()
            return Asked(trace or arrived[0].header("traceparent").split("-")[1], status, arrived)

        found = {
            "unsampled": ask("/reviews/7", flags="00"),  # first, so that its spans would have arrived with the others
            "ordinary": ask("/reviews/7?page=2&sig=secret"),
            "root": ask("/reviews/7", trace=""),
            "missing": ask("/missing"),
            "denied": ask("/secret"),
            "retried": ask("/", host="breaks.test"),
        }
        found["ordinary"].places = {"client": server.address("inbound-0"), "server": app.address}
        collector.wait_until(lambda each: len(each.spans) >= 4 + 4 + 4 + 3 + 3, 20)
        for each in found.values():
            each.spans = spans_of(collector, each.trace)
        yield found
        assert [sidecar.stop() for sidecar in (client, server)] == [0, 0]
        assert collector.latest_metrics["http.server.request.duration"]  # sent when they ended
    collector.close()


def test_every_span_hangs_under_the_one_that_caused_it(asked):
    one = asked["ordinary"]
    assert one.status == 200
    assert sorted(one.spans) == [("client", CLIENT), ("client", SERVER), ("server", CLIENT), ("server", SERVER)]
    chain = [one.one(service, kind) for service in ("client", "server") for kind in (SERVER, CLIENT)]
    (request,) = one.arrived
    above = [PARENT, *(span.span_id.hex() for span in chain)]
    below = [*(span.parent_span_id.hex() for span in chain), parent_of(request)]
    assert above == below
    assert len(set(above)) == 5


def test_a_trace_that_begins_here_has_a_root(asked):
    one = asked["root"]
    root = one.one("client", SERVER)
    assert not root.parent_span_id
    assert one.one("client", CLIENT).parent_span_id == root.span_id
    assert one.one("server", SERVER).parent_span_id == one.one("client", CLIENT).span_id


@pytest.mark.parametrize("service", ["client", "server"])
def test_a_server_span_says_what_the_convention_asks_for(asked, service):
    span = asked["ordinary"].one(service, SERVER)
    of = attributes(span)
    route = {"client": "/reviews/*", "server": "/*"}[service]  # what is behind the callee takes every path
    assert (span.name, of["http.route"]) == (f"GET {route}", route)
    assert (of["http.request.method"], of["url.path"], of["http.response.status_code"]) == ("GET", "/reviews/7", 200)
    assert of["url.query"].startswith("page=2&sig=")
    assert (of["network.protocol.name"], of["network.protocol.version"]) == ("http", "1.1")
    assert (of["client.address"], of["network.peer.address"]) == ("127.0.0.1", "127.0.0.1")
    assert (of["server.address"], of["user_agent.original"]) == ("reviews.test", "test/1")
    assert of["url.scheme"] == {"client": "http", "server": "https"}[service]  # of the leg
    assert of["server.port"] == 80
    assert "error.type" not in of
    assert span.status.code == span.status.STATUS_CODE_UNSET


def test_the_callee_says_who_called_and_how(asked):
    of = attributes(asked["ordinary"].one("server", SERVER))
    assert of["meshd.peer"] == "spiffe://mesh.test/ns/default/sa/client"
    assert (of["tls.protocol.version"], of["tls.established"]) == ("1.3", True)
    assert of["meshd.authorization"] == "allowed"


def test_the_caller_says_who_answered_and_how(asked):
    of = attributes(asked["ordinary"].one("client", CLIENT))
    assert of["meshd.peer"] == "spiffe://mesh.test/ns/default/sa/server"
    assert (of["tls.protocol.version"], of["tls.established"]) == ("1.3", True)
    assert of["tls.cipher"].startswith("TLS_")
    assert len(of["tls.server.hash.sha256"]) == 64
    assert "tls.established" not in attributes(asked["ordinary"].one("server", CLIENT))  # to the app


def test_the_proxys_own_time_is_what_a_server_span_has_beyond_its_client_spans(asked):
    one = asked["ordinary"]
    chain = [one.one(service, kind) for service in ("client", "server") for kind in (SERVER, CLIENT)]
    for outer, inner in zip(chain[::2], chain[1::2], strict=True):
        assert outer.start_time_unix_nano < inner.start_time_unix_nano
        assert inner.end_time_unix_nano < outer.end_time_unix_nano
    for service in ("client", "server"):
        assert attributes(one.one(service, CLIENT))["meshd.time_to_first_byte"] > 0
        assert attributes(one.one(service, CLIENT))["meshd.connection.age"] >= 0


def test_a_refusal_of_the_other_sidecar_is_not_laid_to_the_app(asked):
    assert attributes(asked["denied"].one("client", SERVER))["meshd.replied_by"] == "upstream_proxy"
    assert attributes(asked["missing"].one("client", SERVER))["meshd.replied_by"] == "app"


def test_every_attribute_is_one_of_the_conventions_or_ours(asked):
    for one in asked.values():
        for span in (span for spans in one.spans.values() for span in spans):
            assert not wrong(attributes(span))
            for event in span.events:
                assert not wrong(attributes(event))


@pytest.mark.parametrize("service", ["client", "server"])
def test_a_client_span_says_what_the_convention_asks_for(asked, service):
    one = asked["ordinary"]
    span = one.one(service, CLIENT)
    of = attributes(span)
    assert span.name == "GET"
    assert f"{of['network.peer.address']}:{of['network.peer.port']}" == one.places[service]
    assert (of["http.request.method"], of["server.address"]) == ("GET", "reviews.test")
    assert of["url.full"].startswith("http://reviews.test/reviews/7?")  # as the app asked
    assert (of["server.port"], of["network.protocol.version"]) == (80, {"client": "1.1", "server": "1.1"}[service])
    assert of["http.response.status_code"] == 200
    assert "http.request.resend_count" not in of


def test_what_signs_a_query_is_in_no_span(asked):
    spans = [span for each in asked["ordinary"].spans.values() for span in each]
    assert len(spans) == 4
    assert not [span.name for span in spans if "secret" in str(attributes(span))]


def test_a_404_is_an_error_of_the_caller_alone(asked):
    one = asked["missing"]
    assert one.status == 404
    for service in ("client", "server"):
        assert one.one(service, SERVER).status.code == 0
        assert one.one(service, CLIENT).status.code == 2
        assert attributes(one.one(service, CLIENT))["error.type"] == "404"


def test_a_denial_has_no_attempt_and_says_which_policy(asked):
    one = asked["denied"]
    assert one.status == 403
    assert ("server", CLIENT) not in one.spans
    of = attributes(one.one("server", SERVER))
    assert (of["meshd.authorization"], of["meshd.replied_by"]) == ("denied", "proxy")
    assert "callers" in of["meshd.policy.nearest"]


def test_each_attempt_is_a_span_and_the_app_hangs_under_the_one_that_reached_it(asked):
    one = asked["retried"]
    assert one.status == 200
    server = one.one("client", SERVER)
    first, second = one.spans["client", CLIENT]
    assert first.parent_span_id == second.parent_span_id == server.span_id
    assert [parent_of(request) for request in one.arrived] == [first.span_id.hex(), second.span_id.hex()]
    assert attributes(first)["error.type"] == "UpstreamConnectionTermination"
    assert first.status.code == first.status.STATUS_CODE_ERROR
    assert attributes(second)["http.request.resend_count"] == 1
    assert second.status.code == server.status.code == 0
    assert [event.name for event in server.events] == ["meshd.retry"]


def test_a_caller_that_does_not_sample_is_obeyed_by_both(asked):
    one = asked["unsampled"]
    (request,) = one.arrived
    assert one.status == 200
    assert request.header("traceparent").split("-")[1::2] == [one.trace, "00"]
    assert one.spans == {}


@pytest.mark.slow
def test_traffic_does_not_know_that_the_collector_is_away(mesh):
    otlp = {"endpoint": f"http://127.0.0.1:{free_port()}"}
    with Origin() as origin:
        mesh.entry("reviews.test", origin.address)
        sidecar = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}], telemetry={"otlp": otlp, "accessLog": None})
        address, admin = sidecar.address("outbound-0"), sidecar.address("admin")
        asked = 0

        def dropped():
            nonlocal asked
            asked += 1
            assert get(address, host="reviews.test") == (200, b"ok")
            return counter(admin, "meshd.telemetry.dropped")

        lost = until(dropped, 40, "a record that was dropped")
        assert 0 < lost <= asked
        assert counter(admin, "meshd.telemetry.failures") >= 1
        assert counter(admin, "meshd.telemetry.exported") == 0
        assert get(admin, "/ready") == (200, b"ready\n")
        assert sidecar.stop() == 0


def counter(admin, name):
    """The sum of one counter in /stats."""
    status, body = get(admin, f"/stats?prefix={name}")
    assert status == 200
    return sum(each["value"] for each in json.loads(body)["counters"].get(name, []))
