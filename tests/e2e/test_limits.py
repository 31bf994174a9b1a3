"""What policies add to the way of a request between two sidecars: faults, limits, copies, sessions."""

import contextlib
import http.client
import json
import threading
import time
from dataclasses import dataclass

import pytest
from support.origin import Hangup, Origin, always_ok, ok
from support.processes import until

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec: {rules: [{}]}
"""
FAULTS = """
    apiVersion: meshd.dev/v1alpha1
    kind: FaultPolicy
    metadata: {name: faults, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: fault-test}]
      rules:
        - {header: x-chaos, match: {path: {value: /both}}, delay: {fixed: 300ms}, abort: {status: 418}}
        - {match: {path: {value: /abort}}, abort: {status: 503}}
        - {match: {path: {value: /grpc}}, abort: {grpcStatus: 8}}
        - {match: {path: {value: /slow}}, delay: {fixed: 300ms}}
        - {match: {path: {value: /asleep}}, delay: {fixed: 1h}}
        - {match: {path: {value: /never}}, abort: {status: 500, percentage: 0}}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: impatient, namespace: default}
    spec: {targetRefs: [{kind: ServiceEntry, name: fault-test}], timeout: 200ms}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: FaultPolicy
    metadata: {name: at-the-server, namespace: default}
    spec:
      selector: {matchLabels: {app: server}}
      rules: [{match: {path: {value: /at-the-server}}, abort: {status: 507}}]
"""
LIMITS = """
    apiVersion: meshd.dev/v1alpha1
    kind: RateLimitPolicy
    metadata: {name: limits, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: limit-test}]
      rules:
        - {match: {path: {value: /few}}, requests: 3, per: hour}
        - {name: users, match: {path: {value: /user}}, requests: 1, per: hour, key: "header:x-user"}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: RateLimitPolicy
    metadata: {name: at-the-server, namespace: default}
    spec:
      selector: {matchLabels: {app: server}}
      rules: [{match: {path: {value: /callers}}, requests: 2, per: hour, key: identity}]
"""
SIZES = """
    apiVersion: meshd.dev/v1alpha1
    kind: RequestPolicy
    metadata: {name: sizes, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: size-test}]
      rules:
        - {match: {path: {value: /up}}, maxRequestBody: 100k}
        - {match: {path: {value: /down}}, maxResponseBody: 100k}
        - match: {path: {value: /robots.txt}}
          respond: {status: 200, body: "User-agent: *", headers: [{name: cache-control, value: no-store}]}
"""
CORS = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: cors, namespace: default}
    spec:
      parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: cors-test}]
      rules:
        - filters:
            - {type: CORS, cors: {allowOrigins: ["https://*.shop.test"], allowMethods: [PUT], allowCredentials: true}}
          backendRefs: [{group: networking.istio.io, kind: ServiceEntry, name: cors-test, port: 80}]
"""
MIRROR = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: mirror, namespace: default}
    spec:
      parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: mirror-test}]
      rules:
        - filters:
            - type: RequestMirror
              requestMirror: &copy {backendRef: {group: networking.istio.io, kind: ServiceEntry, name: shadow-test}}
            - {type: RequestMirror, requestMirror: *copy}
          backendRefs: [{group: networking.istio.io, kind: ServiceEntry, name: mirror-test, port: 80}]
"""
SESSIONS = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: sessions, namespace: default}
    spec:
      parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: session-test}]
      rules:
        - matches: [{path: {value: /cookie}}]
          sessionPersistence: {cookie: {name: cart, lifetimeType: Permanent}, absoluteTimeout: 1h}
          backendRefs: &both
            - {group: networking.istio.io, kind: ServiceEntry, name: mirror-test, weight: 1}
            - {group: networking.istio.io, kind: ServiceEntry, name: shadow-test, weight: 1}
        - matches: [{path: {value: /header}}]
          sessionPersistence: {type: Header, header: {name: x-session}}
          backendRefs: [{group: networking.istio.io, kind: ServiceEntry, name: two-test}]
        - matches: [{path: {value: /canary}}]
          backendRefs: *both
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: sticky, namespace: default}
    spec: {targetRefs: [{kind: ServiceEntry, name: session-test}], stickySplit: "cookie:user"}
"""
IDLE = """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: idle, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: idle-test}]
      retry: {attempts: 1, perTryIdleTimeout: 1s, on: [reset]}
"""
HEDGE = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: hedge, namespace: default}
    spec:
      parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: hedge-test}]
      rules: [{backendRefs: [{group: networking.istio.io, kind: ServiceEntry, name: two-test}]}]
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: hedge, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: hedge-test}]
      retry: {perTryTimeout: 100ms, hedgeOnPerTryTimeout: true, attempts: 1}
"""
POLICIES = {
    "hedge.test": HEDGE,
    "idle.test": IDLE,
    "fault.test": FAULTS,
    "limit.test": LIMITS,
    "size.test": SIZES,
    "cors.test": CORS,
    "mirror.test": MIRROR,
    "session.test": SESSIONS,
}
WORKERS = 2


@dataclass
class Answer:
    """One response."""

    status: int
    fields: dict[str, str]
    body: bytes
    seconds: float


class Pair:
    """A client's sidecar and a server's before an app, and what the app saw."""

    def __init__(self, mesh, origin, shadow, folder) -> None:
        self.origin = origin
        self.shadow = shadow
        self.log = folder / "access.jsonl"
        mesh.policy("allow", ALLOW)
        self.server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        mesh.entry("shadow.test", shadow.address)
        mesh.entry("two.test", origin.address, shadow.address)
        for host, policies in POLICIES.items():
            mesh.entry(host, self.server.address("inbound-0"), mesh=True, account="server")
            mesh.policy(f"policies-{host}", policies)
        telemetry = {"accessLog": {"path": str(self.log), "format": "json"}}
        self.client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}], telemetry=telemetry, workers=WORKERS)
        self.address = self.client.address("outbound-0")

    def call(self, host, path="/", method="GET", body=None, **headers) -> Answer:
        """One request on a connection of its own."""
        fields = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=20)) as connection:
            began = time.perf_counter()
            connection.request(method, path, body, fields)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read(), time.perf_counter() - began)

    def logged(self, path) -> dict[str, object]:
        """The access line of the request for this path."""

        def find():
            for line in self.log.read_text().splitlines():
                entry = json.loads(line)
                if path in line:
                    return entry
            return None

        return until(find, what=f"an access line about {path}")


@pytest.fixture(scope="module")
def running(shared_mesh, tmp_path_factory):
    with Origin() as origin, Origin() as shadow:
        yield Pair(shared_mesh, origin, shadow, tmp_path_factory.mktemp("log"))


@pytest.fixture
def pair(running):
    running.origin.behave = lambda wire, request: wire.sock.sendall(ok(b"" if request.method == "HEAD" else b"ok"))
    running.origin.take()
    running.shadow.take()
    return running


# -- faults -----------------------------------------------------------------------------------------------------------


def test_an_abort_never_reaches_the_app(pair):
    answer = pair.call("fault.test", "/abort")
    assert answer.status == 503
    assert 'error=proxy_internal_response; details="FI fault_filter_abort"' in answer.fields["proxy-status"]
    assert not pair.origin.take()
    assert pair.logged("/abort")["response_flags"] == "FI"


def test_a_grpc_caller_gets_a_grpc_status(pair):
    answer = pair.call("fault.test", "/grpc", "POST", b"", content_type="application/grpc")
    assert (answer.status, answer.fields["grpc-status"]) == (200, "8")
    assert pair.call("fault.test", "/grpc").status == 429


def test_a_delay_comes_before_the_time_out_of_the_route_begins(pair):
    answer = pair.call("fault.test", "/slow")
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.seconds >= 0.3
    entry = pair.logged("/slow")
    assert entry["response_flags"] == "DI"
    assert entry["facts"] == {"fault": "default/faults rule 3"}


def test_only_requests_with_the_trigger_are_touched(pair):
    assert pair.call("fault.test", "/both").status == 200
    answer = pair.call("fault.test", "/both?2", x_chaos="1")
    assert answer.status == 418
    assert answer.seconds >= 0.3
    assert pair.logged("/both?2")["response_flags"] == "DI,FI"


def test_a_share_of_nothing_is_nothing(pair):
    assert pair.call("fault.test", "/never").status == 200


def test_the_server_s_sidecar_has_faults_of_its_own(pair):
    answer = pair.call("fault.test", "/at-the-server")
    assert answer.status == 507
    assert answer.fields["proxy-status"].startswith('"server.default"; error=proxy_internal_response')


def test_nobody_is_held_who_has_left(pair):
    with contextlib.closing(http.client.HTTPConnection(pair.address, timeout=20)) as connection:
        connection.request("GET", "/asleep", headers={"host": "fault.test"})
        time.sleep(0.05)
    assert pair.logged("/asleep")["response_flags"] == "DI,DC"


# -- rate limits ------------------------------------------------------------------------------------------------------


def test_a_limit_holds_for_all_workers_together(pair):
    answers = [pair.call("limit.test", "/few") for _ in range(40)]  # the kernel gives each worker about half of them
    assert [answer.status for answer in answers] == [200] * 3 + [429] * 37
    assert len(pair.origin.take()) == 3
    fields = answers[-1].fields
    assert 1100 < int(fields["retry-after"]) <= 1200
    assert fields["ratelimit-policy"] == '"0";q=3;w=3600'
    assert fields["ratelimit"] == f'"0";r=0;t={fields["retry-after"]}'
    assert 'details="RL local_rate_limited[default/limits rule 0]"' in fields["proxy-status"]
    entry = pair.logged("/few")
    assert entry["authority"] == "limit.test"


def test_a_limit_for_each_value_of_a_header(pair):
    asked = ["a", "b", "a", "c", "b"]
    statuses = [pair.call("limit.test", "/user", x_user=each).status for each in asked]
    assert statuses == [200, 200, 429, 200, 429]


def test_a_limit_for_each_caller_at_the_server(pair):
    assert [pair.call("limit.test", "/callers").status for _ in range(4)] == [200, 200, 429, 429]
    assert len(pair.origin.take()) == 2


# -- sizes and answers of our own -------------------------------------------------------------------------------------


def pieces(octets):
    """A body whose length is not said beforehand."""
    return (b"x" * 10_000 for _ in range(octets // 10_000))


@pytest.mark.parametrize("how", [lambda octets: b"x" * octets, pieces], ids=["length", "chunked"])
def test_a_request_body_up_to_its_limit(pair, how):
    assert pair.call("size.test", "/up", "POST", how(100_000)).status == 200
    (request,) = pair.origin.take()
    assert len(request.body) == 100_000


def test_a_request_that_says_it_is_too_large_never_leaves(pair):
    answer = pair.call("size.test", "/up?declared", "POST", b"x" * 100_001)
    assert answer.status == 413
    assert "error=http_request_error" in answer.fields["proxy-status"]
    assert not pair.origin.take()
    assert pair.logged("/up?declared")["response_code_details"] == "request_payload_too_large"


def test_a_request_that_turns_out_too_large_is_broken_off(pair):
    answer = pair.call("size.test", "/up?chunked", "POST", pieces(200_000))
    assert answer.status == 413
    assert pair.logged("/up?chunked")["response_code_details"] == "request_payload_too_large"
    assert not any(request.complete for request in pair.origin.take())
    assert pair.call("size.test", "/up").status == 200


def test_a_response_body_up_to_its_limit(pair):
    pair.origin.behave = lambda wire, request: wire.sock.sendall(ok(b"x" * 100_000))
    assert len(pair.call("size.test", "/down").body) == 100_000


def test_a_response_that_says_it_is_too_large_is_not_passed_on(pair):
    pair.origin.behave = lambda wire, request: wire.sock.sendall(ok(b"x" * 100_001))
    answer = pair.call("size.test", "/down")
    assert answer.status == 502
    assert "error=http_response_body_size" in answer.fields["proxy-status"]
    assert len(pair.origin.take()) == 1, "it was tried again"


def test_the_length_in_an_answer_to_head_is_no_body(pair):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"
    pair.origin.behave = lambda wire, request: wire.sock.sendall(head)
    assert pair.call("size.test", "/down", "HEAD").status == 200


def test_a_response_that_turns_out_too_large_is_broken_off(pair):
    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            wire.sock.sendall(b"2710\r\n" + b"x" * 10_000 + b"\r\n")

    pair.origin.behave = behave
    with pytest.raises(http.client.IncompleteRead) as broken:
        pair.call("size.test", "/down?endless")
    assert 0 < len(broken.value.partial) <= 100_000
    assert pair.logged("/down?endless")["response_code_details"] == "response_payload_too_large"


def test_an_answer_of_the_sidecar_s_own(pair):
    answer = pair.call("size.test", "/robots.txt")
    assert (answer.status, answer.body) == (200, b"User-agent: *")
    assert (answer.fields["content-type"], answer.fields["cache-control"]) == ("text/plain", "no-store")
    assert "proxy-status" not in answer.fields
    assert not pair.origin.take()


# -- browsers ---------------------------------------------------------------------------------------------------------


def test_a_preflight_is_answered_by_the_sidecar(pair):
    origin = "https://www.shop.test"
    answer = pair.call("cors.test", "/", "OPTIONS", origin=origin, access_control_request_method="PUT")
    assert answer.status == 204
    assert answer.fields["access-control-allow-origin"] == origin
    assert answer.fields["access-control-allow-methods"] == "PUT"
    answer = pair.call("cors.test", "/", "OPTIONS", origin="https://evil.test", access_control_request_method="PUT")
    assert (answer.status, answer.fields.get("access-control-allow-origin")) == (204, None)
    assert not pair.origin.take()


def test_an_actual_request_goes_on_and_its_response_is_marked(pair):
    answer = pair.call("cors.test", "/", "PUT", origin="https://www.shop.test")
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.fields["access-control-allow-origin"] == "https://www.shop.test"
    assert answer.fields["access-control-allow-credentials"] == "true"
    assert "access-control-allow-origin" not in pair.call("cors.test", "/", origin="https://evil.test").fields


# -- copies -----------------------------------------------------------------------------------------------------------


def copies(pair, count):
    """The copies that have arrived whole, once there are as many."""
    return until(lambda: [each for each in pair.shadow.requests if each.complete][count - 1 :] and pair.shadow.take())


@pytest.mark.parametrize("body", [b"", b"all of it", pieces(50_000)], ids=["none", "length", "chunked"])
def test_a_copy_goes_elsewhere_and_says_that_it_is_one(pair, body):
    answer = pair.call("mirror.test", "/m?a=b", "POST", body, x_a="1")
    assert (answer.status, answer.body) == (200, b"ok")
    (original,) = pair.origin.take()
    for copy in copies(pair, 2):
        assert (copy.method, copy.target, copy.body) == ("POST", "/m?a=b", original.body)
        assert copy.header("host") == "mirror.test-shadow"
        assert (copy.header("x-a"), copy.header("x-request-id")) == ("1", original.header("x-request-id"))


def test_nobody_waits_for_a_copy_and_nobody_minds_what_becomes_of_it(pair):
    release = threading.Event()

    def stall(wire, request):
        release.wait(20)
        raise Hangup

    pair.shadow.behave = stall
    try:
        for number in range(5):
            assert pair.call("mirror.test", f"/stalled/{number}").body == b"ok"
        assert len(pair.origin.take()) == 5
    finally:
        release.set()
        pair.shadow.behave = always_ok


def test_a_body_too_large_to_keep_is_not_copied(pair):
    answer = pair.call("mirror.test", "/large", "POST", pieces(500_000))
    assert answer.status == 200
    assert pair.logged("/large")["facts"] == {"mirror": "no copy: the body was not whole, or too large to keep"}
    assert not [each for each in pair.shadow.take() if each.target == "/large"]


# -- sessions ---------------------------------------------------------------------------------------------------------


def where(pair, path, **headers):
    """Which app answered, and what the answer says of the session."""
    answer = pair.call("session.test", path, **headers)
    assert answer.status == 200
    at_origin, at_shadow = len(pair.origin.take()), len(pair.shadow.take())
    assert at_origin + at_shadow == 1
    return at_shadow, answer.fields


def test_a_session_by_cookie_stays_where_it_began(pair):
    sides = set()
    for user in range(12):  # who is sent either way by the split
        side, fields = where(pair, "/cookie", cookie=f"user={user}")
        name, _, rest = fields["set-cookie"].partition("=")
        token, *attributes = rest.split("; ")
        assert (name, attributes) == ("cart", ["Path=/", "HttpOnly", "Max-Age=3600"])
        for _ in range(5):
            again, fields = where(pair, "/cookie", cookie=f"a=b; cart={token}")
            assert again == side
            assert "set-cookie" not in fields
        sides.add(side)
    assert sides == {0, 1}


def test_a_session_by_header_stays_where_it_began(pair):
    for _ in range(5):
        side, fields = where(pair, "/header")
        token = fields["x-session"]
        assert [where(pair, "/header", x_session=token)[0] for _ in range(5)] == [side] * 5
    _, fields = where(pair, "/header", x_session="nonsense")
    assert fields["x-session"]


def test_the_same_user_gets_the_same_side_of_a_split(pair):
    def side(user):
        return where(pair, "/canary", cookie=f"user={user}")[0]

    sides = {user: side(user) for user in range(20)}
    assert set(sides.values()) == {0, 1}
    assert {user: side(user) for user in range(20)} == sides


# -- silence ----------------------------------------------------------------------------------------------------------


def test_a_silent_attempt_is_given_up_and_the_next_one_answers(pair):
    release = threading.Event()

    def behave(wire, request):
        if len(pair.origin.requests) == 1:
            release.wait(20)
        wire.sock.sendall(ok())

    pair.origin.behave = behave
    try:
        assert pair.call("idle.test", "/silent").body == b"ok"
    finally:
        release.set()
    assert len(pair.origin.take()) == 2
    assert pair.logged("/silent")["attempts"] == 2


def test_a_response_may_take_long_as_long_as_something_comes(pair):
    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            time.sleep(0.25)
            wire.sock.sendall(b"x")

    pair.origin.behave = behave
    assert pair.call("idle.test", "/drips").body == b"x" * 6


def test_a_response_that_falls_silent_is_broken_off(pair):
    release = threading.Event()

    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nxxx")
        release.wait(20)

    pair.origin.behave = behave
    try:
        with pytest.raises(http.client.IncompleteRead):
            pair.call("idle.test", "/falls-silent")
    finally:
        release.set()
    assert pair.logged("/falls-silent")["response_code_details"] == "upstream_per_try_idle_timeout"
    assert len(pair.origin.take()) == 1


# -- hedging ----------------------------------------------------------------------------------------------------------


class Race:
    """Two apps of which the first to be asked waits, and the second answers; or as `first` and `second` say."""

    def __init__(self, pair, first, second) -> None:
        self.pair = pair
        self.asked = []
        self.release = threading.Event()
        self.second_asked = threading.Event()
        self._behaviours = [first, second]
        self._lock = threading.Lock()
        pair.origin.behave = pair.shadow.behave = self._behave

    def _behave(self, wire, request):
        with self._lock:
            self.asked.append(request)
            number = len(self.asked)
        if number == 2:
            self.second_asked.set()
        self._behaviours[number - 1](self, wire)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release.set()
        self.second_asked.set()
        self.pair.shadow.behave = always_ok


def waits(race, wire):
    race.release.wait(20)


def answers(body, status=b"200 OK"):
    def answer(race, wire):
        wire.sock.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    return answer


def answers_late(race, wire):
    race.second_asked.wait(20)
    answers(b"first")(race, wire)


@pytest.mark.parametrize("body", [None, b"whole"])
def test_a_second_try_answers_while_the_first_still_waits(pair, body):
    path = f"/hedged/{bool(body)}"
    with Race(pair, waits, answers(b"second")) as race:
        answer = pair.call("hedge.test", path, "PUT" if body else "GET", body)
        assert (answer.status, answer.body) == (200, b"second")
        assert [request.body for request in race.asked] == [body or b""] * 2
    entry = pair.logged(path)
    assert (entry["attempts"], entry["response_code"], entry["bytes_sent"]) == (2, 200, 6)
    assert {bool(pair.origin.take()), bool(pair.shadow.take())} == {True}


def test_the_first_try_may_still_win(pair):
    with Race(pair, answers_late, waits):
        assert pair.call("hedge.test", "/late").body == b"first"


def test_a_server_error_of_the_second_does_not_win(pair):
    def answers_after_the_error(race, wire):
        race.second_asked.wait(20)
        time.sleep(0.3)
        answers(b"first")(race, wire)

    with Race(pair, answers_after_the_error, answers(b"no", b"503 Busy")):
        assert pair.call("hedge.test", "/error").body == b"first"


def test_a_server_error_of_the_first_waits_for_the_second(pair):
    def fails_late(race, wire):
        race.second_asked.wait(20)
        answers(b"no", b"503 Busy")(race, wire)

    def answers_after_the_error(race, wire):
        time.sleep(0.3)
        answers(b"second")(race, wire)

    with Race(pair, fails_late, answers_after_the_error):
        assert pair.call("hedge.test", "/error").body == b"second"


def test_where_both_fail_the_first_failure_is_told(pair):
    def hangs_up_late(race, wire):
        race.second_asked.wait(20)
        raise Hangup

    def hangs_up(race, wire):
        raise Hangup

    with Race(pair, hangs_up_late, hangs_up):
        answer = pair.call("hedge.test", "/both")
    assert answer.status == 502
    assert "error=connection_terminated" in answer.fields["proxy-status"]


def test_a_post_is_not_hedged(pair):
    with Race(pair, waits, answers(b"second")) as race:
        assert pair.call("hedge.test", "/post", "POST", b"once").status == 504
        assert len(race.asked) == 1
