"""What filters of routes add between two sidecars: answers to browsers, copies, sessions."""

import threading

import pytest
from support.origin import Hangup, always_ok
from support.policy_pair import pieces
from support.processes import until

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
GUARDED = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: guarded, namespace: default}
    spec:
      parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: guarded-test}]
      rules:
        - matches: [{path: {value: /nobody}}]
          filters: &cors [{type: CORS, cors: {allowOrigins: ["https://a.test"], exposeHeaders: [retry-after]}}]
          backendRefs: [{name: no-such-service, port: 80}]
        - filters: *cors
          backendRefs: [{group: networking.istio.io, kind: ServiceEntry, name: guarded-test, port: 80}]
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: RateLimitPolicy
    metadata: {name: guarded, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: guarded-test}]
      rules: [{match: {path: {value: /limited}}, requests: 1, per: hour}]
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: FaultPolicy
    metadata: {name: guarded, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: guarded-test}]
      rules: [{match: {path: {value: /fault}}, abort: {status: 503, percentage: 100}}]
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: RequestPolicy
    metadata: {name: guarded, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: guarded-test}]
      rules:
        - {match: {path: {value: /gone}}, respond: {status: 404, body: gone}}
        - {match: {path: {value: /small}}, maxRequestBody: 1}
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
POLICIES = {"cors.test": CORS, "guarded.test": GUARDED, "mirror.test": MIRROR, "session.test": SESSIONS}


# -- browsers ---------------------------------------------------------------------------------------------------------


def test_a_preflight_is_answered_by_the_sidecar(pair):
    origin = "https://www.shop.test"
    answer = pair.call("cors.test", "/", "OPTIONS", origin=origin, access_control_request_method="PUT")
    assert answer.status == 200
    assert answer.fields["access-control-allow-origin"] == origin
    assert answer.fields["access-control-allow-methods"] == "PUT"
    answer = pair.call("cors.test", "/", "OPTIONS", origin="https://evil.test", access_control_request_method="PUT")
    assert (answer.status, answer.fields.get("access-control-allow-origin")) == (200, None)
    assert not pair.origin.take()


def test_an_actual_request_goes_on_and_its_response_is_marked(pair):
    answer = pair.call("cors.test", "/", "PUT", origin="https://www.shop.test")
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.fields["access-control-allow-origin"] == "https://www.shop.test"
    assert answer.fields["access-control-allow-credentials"] == "true"
    assert "access-control-allow-origin" not in pair.call("cors.test", "/", origin="https://evil.test").fields


def test_preflights_spend_no_limit_and_the_refusal_can_be_read(pair):
    asked = {"origin": "https://a.test", "access_control_request_method": "GET"}
    for _ in range(3):
        answer = pair.call("guarded.test", "/limited", "OPTIONS", **asked)
        assert (answer.status, answer.fields["access-control-expose-headers"]) == (200, "retry-after")
    statuses = []
    for _ in range(2):
        answer = pair.call("guarded.test", "/limited", origin="https://a.test")
        statuses.append(answer.status)
        assert answer.fields["access-control-allow-origin"] == "https://a.test"
        assert answer.fields["vary"] == "origin"
    assert statuses == [200, 429]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/fault", b"", 503), ("/gone", b"", 404), ("/small", b"12", 413), ("/nobody", b"", 500)],
)
def test_what_the_sidecar_answers_itself_within_a_rule_can_be_read_by_the_page(pair, path, body, status):
    answer = pair.call("guarded.test", path, "POST", body, origin="https://a.test")
    assert answer.status == status
    assert answer.fields["access-control-allow-origin"] == "https://a.test"
    assert answer.fields["access-control-expose-headers"] == "retry-after"
    for origin in ({}, {"origin": "https://b.test"}):
        answer = pair.call("guarded.test", path, "POST", body, **origin)
        assert (answer.status, answer.fields["vary"]) == (status, "origin")
        assert "access-control-allow-origin" not in answer.fields


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
