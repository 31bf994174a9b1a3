"""What becomes of a request, asked of the engine."""

import pytest
from support.tokens import key_set, public, token
from support.worlds import (
    DOOR,
    STRANGER,
    allow,
    believing,
    custom,
    inbound,
    mtls,
    outbound,
    proxy_of,
    route,
    service,
    world_of,
)

from meshd.config.errors import ConfigError
from meshd.explain.explanation import explain
from meshd.explain.question import Unaskable

ONLY_GET = allow({"to": [{"operation": {"methods": ["GET"]}}]})
SPLIT = {"backendRefs": [{"name": "v1", "port": 80, "weight": 3}, {"name": "v2", "port": 80, "weight": 1}]}
WEB = (service("web"), service("v1"), service("v2"))


def test_an_allowed_request_goes_to_the_app():
    answer = world_of(ONLY_GET).ask(inbound("GET", "/x"))
    assert (answer.kind, answer.allowed, answer.verdict.policy, answer.verdict.rule) == ("forwarded", True, "shop/p", 0)
    assert answer.split == (("app:127.0.0.1:8080", 100.0),)


def test_a_denied_one_does_not():
    answer = world_of(ONLY_GET).ask(inbound("PUT"))
    assert (answer.kind, answer.status, answer.allowed, answer.verdict.observed) == ("denied", 403, False, "PUT")


@pytest.mark.parametrize(
    ("mode", "kind"), [("STRICT", "refused"), ("PERMISSIVE", "forwarded"), ("DISABLE", "forwarded")]
)
def test_without_a_certificate_the_mode_decides(mode, kind):
    assert world_of(mtls(mode)).ask(inbound(caller="")).kind == kind


def test_bytes_that_the_codec_refuses_are_malformed():
    answer = world_of().ask(inbound(target="/.."))
    assert (answer.kind, answer.status, answer.allowed) == ("malformed", 400, False)


@pytest.mark.parametrize(
    ("target", "kind", "observed"),
    [
        ("/x/..%2Fadmin", "denied", ""),
        ("/x%2Fadmin", "forwarded", ""),
        ("/%2561dmin", "malformed", "escapes of escapes"),
    ],
)
def test_every_reading_of_a_path_is_asked_about(target, kind, observed):
    denied = allow({"to": [{"operation": {"paths": ["/admin*"]}}]}, action="DENY")
    answer = world_of(denied).ask(inbound(target=target))
    assert (answer.kind, answer.verdict.observed) == (kind, observed)


def test_a_split_is_told_whole_whichever_side_is_drawn():
    world = world_of(*WEB, route(SPLIT))
    answers = {world.ask(outbound()).outcome for _ in range(30)}
    assert len(answers) == 1
    assert world.ask(outbound()).split == (("shop/v1:80", 75.0), ("shop/v2:80", 25.0))


def test_a_side_that_does_not_exist_hides_no_other():
    half = {"backendRefs": [{"name": "v1", "port": 80}, {"name": "gone", "port": 80}]}
    world = world_of(*WEB, route(half))
    assert {world.ask(outbound()).kind for _ in range(30)} == {"forwarded"}
    none = world_of(*WEB, route({"backendRefs": [{"name": "gone", "port": 80}]}))
    assert (none.ask(outbound()).kind, none.ask(outbound()).status) == ("no backend", 500)


def test_a_redirect_is_an_answer():
    redirect = {"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "x.test", "statusCode": 301}}]}
    answer = world_of(*WEB, route(redirect)).ask(outbound("/p"))
    assert (answer.kind, answer.status, answer.location) == ("answered", 301, "http://x.test/p")


def test_a_rewrite_shows_in_what_is_forwarded():
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}
    rule = {
        "matches": [{"path": {"value": "/old"}}],
        "filters": [{"type": "URLRewrite", "urlRewrite": {"path": path}}],
        "backendRefs": [{"name": "v1", "port": 80}],
    }
    assert world_of(*WEB, route(rule)).ask(outbound("/old/x?q=1")).forwarded == "GET web /new/x?q=1"


def test_a_name_that_nobody_knows_has_no_route():
    answer = world_of(*WEB).ask(outbound(authority="elsewhere"))
    assert (answer.kind, answer.status) == ("no route", 404)


def test_a_tunnel_is_for_names_of_the_mesh():
    world = world_of(*WEB)
    assert world.ask(outbound("web:80", "CONNECT", authority="web:80")).kind == "tunnel"
    assert world.ask(outbound("x:80", "CONNECT", authority="x:80")).kind == "no route"


def test_listeners_are_named_or_the_first_that_fits():
    world = world_of(inbound=[{"listen": f"127.0.0.1:{port}", "app": f"127.0.0.1:{port + 1}"} for port in (1, 3)])
    assert world.ask(inbound()).split == (("app:127.0.0.1:2", 100.0),)
    assert world.ask(inbound(listener="inbound-1")).split == (("app:127.0.0.1:4", 100.0),)
    with pytest.raises(Unaskable, match="expected one of inbound-0, inbound-1"):
        world.ask(inbound(listener="inbound-2"))


def test_a_direction_that_the_sidecar_does_not_have():
    with pytest.raises(Unaskable, match="no outbound listener"):
        world_of(outbound=[]).ask(outbound())


def test_documents_that_do_not_compile_are_refused():
    with pytest.raises(ConfigError, match="is not supported yet"):
        world_of(allow({"when": [{"key": "experimental.envoy.filters.a[b]", "values": ["c"]}]}))


def test_another_policy_in_the_place_of_one():
    world = world_of(ONLY_GET)
    [document] = world.documents.authorization_policies
    assert world.with_policy(document, None).ask(inbound("PUT")).kind == "forwarded"
    assert world.ask(inbound("PUT")).kind == "denied"
    assert world.ask(inbound(caller=STRANGER)).kind == "forwarded"


def test_the_default_trust_domain():
    assert world_of().trust_domain == "td"
    assert world_of(mtls("DISABLE"), identity=None).trust_domain == "cluster.local"
    assert repr(world_of()).startswith("<World of shop/reviews: <Snapshot 1: 2 listeners")
    assert proxy_of().spiffe_id == "spiffe://td/ns/shop/sa/reviews"


ASKED = custom({"to": [{"operation": {"methods": ["PUT", "POST"]}}]})
NOT_POST = allow({"to": [{"operation": {"methods": ["POST"]}}]}, action="DENY", name="d")


def guarded(*texts, **door):
    provider = DOOR | {"envoyExtAuthzHttp": DOOR["envoyExtAuthzHttp"] | door}
    return world_of(service("web"), ASKED, *texts, extensionProviders=[provider])


def test_authorizers_outside_are_named_and_taken_to_agree():
    world = guarded(NOT_POST)
    put, get, post = (world.ask(inbound(method)) for method in ("PUT", "GET", "POST"))
    assert (put.kind, put.asks, get.kind, get.asks) == ("forwarded", ("door",), "forwarded", ())
    assert (post.kind, post.status, post.asks) == ("denied", 403, ("door",))
    found = explain(world, inbound("POST"))
    assert [(rule.action, rule.matched, rule.decided) for rule in found.rules] == [
        ("CUSTOM", True, False),
        ("DENY", True, True),
    ]
    assert [change.text for change in found.changes if change.of == "policy"] == [
        "remove rule 0 of AuthorizationPolicy shop/d (f.yaml:5)"
    ]


def test_an_authorizer_that_refuses_decides():
    world = guarded(NOT_POST)
    answer = world.ask(inbound("PUT", authorizer="deny"))
    assert (answer.kind, answer.status, answer.allowed, answer.said) == ("denied", 0, False, "deny")
    assert (answer.verdict.action, answer.verdict.policy, answer.verdict.rule) == ("CUSTOM", "shop/c", 0)
    found = explain(world, inbound("PUT", authorizer="deny"))
    assert [(rule.action, rule.decided) for rule in found.rules] == [("CUSTOM", True), ("DENY", False)]
    assert [change.text for change in found.changes if change.of == "policy"] == [
        "remove rule 0 of AuthorizationPolicy shop/c (f.yaml:3)"
    ]
    assert found.outside == ()
    assert world.ask(inbound("GET", authorizer="deny")).said == ""


@pytest.mark.parametrize(("door", "kind", "status"), [({}, "denied", 403), ({"statusOnError": "503"}, "denied", 503)])
def test_an_authorizer_that_does_not_answer(door, kind, status):
    answer = guarded(**door).ask(inbound("PUT", authorizer="fail"))
    assert (answer.kind, answer.status, answer.details.partition("{")[0]) == (kind, status, "ext_authz_error")
    assert guarded(failOpen=True, **door).ask(inbound("PUT", authorizer="fail")).kind == "forwarded"


def test_every_outcome_of_an_authorizer_is_told():
    found = explain(guarded(NOT_POST), inbound("PUT"))
    assert [(said, answer.kind, answer.said) for said, answer in found.outside] == [
        ("allow", "forwarded", "allow"),
        ("deny", "denied", "deny"),
        ("fail", "denied", "fail"),
    ]
    assert explain(guarded(NOT_POST), inbound("GET")).outside == ()
    told = found.as_json()["authorizers"]
    assert [(each["say"], each["outcome"]["kind"]) for each in told] == [
        ("allow", "forwarded"),
        ("deny", "denied"),
        ("fail", "denied"),
    ]


def test_tokens_are_looked_at_before_anybody_outside_is_asked():
    keys = key_set(public("ES256", kid="k", alg="ES256"))
    bearer = ("authorization", f"Bearer {token(header={'kid': 'k'}, exp=None, iss='i', sub='alice', role='admin')}")
    rule = {"issuer": "i", "jwks": keys, "outputClaimToHeaders": [{"header": "x-role", "claim": "role"}]}
    admins = custom({"when": [{"key": "request.auth.claims[role]", "values": ["admin"]}]}, name="admins")
    subjects = allow({"from": [{"source": {"requestPrincipals": ["i/alice"]}}]}, name="subjects")
    world = world_of(service("web"), believing(rule), admins, subjects, extensionProviders=[DOOR])
    good = explain(world, inbound(headers=(bearer,)))
    assert (good.answer.kind, good.answer.asks) == ("forwarded", ("door",))
    assert [(each.action, each.matched, each.decided) for each in good.rules] == [
        ("CUSTOM", True, False),
        ("ALLOW", True, True),
    ]
    assert [answer.kind for _, answer in good.outside] == ["forwarded", "denied", "denied"]
    nobody = explain(world, inbound())
    assert (nobody.answer.kind, nobody.answer.asks, nobody.outside) == ("denied", (), ())
    assert [(each.action, each.matched) for each in nobody.rules] == [("CUSTOM", False), ("ALLOW", False)]
    bad = explain(world, inbound(headers=(("authorization", "Bearer a.b.c"),), authorizer="deny"))
    assert (bad.answer.kind, bad.answer.status, bad.answer.asks, bad.rules) == ("denied", 401, (), ())


def test_what_a_claim_put_into_a_field_is_what_a_policy_would_have_to_say():
    keys = key_set(public("ES256", kid="k", alg="ES256"))
    bearer = ("authorization", f"Bearer {token(header={'kid': 'k'}, exp=None, iss='i', sub='alice', role='guest')}")
    rule = {"issuer": "i", "jwks": keys, "outputClaimToHeaders": [{"header": "x-role", "claim": "role"}]}
    only = allow({"when": [{"key": "request.headers[x-role]", "values": ["admin"]}]})
    for more in ((), (ASKED,)):
        world = world_of(service("web"), believing(rule), only, *more, extensionProviders=[DOOR])
        found = explain(world, inbound(headers=(bearer, ("x-role", "admin"))))
        assert found.answer.kind == "denied"
        assert 'add "guest" to spec.rules[0].when[0].values' in " ".join(change.text for change in found.changes)
