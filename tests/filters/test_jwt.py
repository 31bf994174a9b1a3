"""Requests with a good token are its issuer's and subject's; with a bad one they are refused; without one nobody's."""

import base64
import json

import pytest
from support.authorization import SCOPE, policy, rule
from support.requests import exchange_of, request
from support.tokens import NOW, encode, key_set, public, token

from meshd.config.request_authentication import RequestAuthentication
from meshd.filters.authz import Authorizer
from meshd.filters.jwt import MAX_REMEMBERED, MAX_TOKENS, MOST_TOLD, authentication_chain
from meshd.filters.key_ring import KeyRing

ISSUER = "https://issuer.test"
CLAIMS = {"scope": "read write", "groups": ["a", "b"], "org": {"unit": "shop", "level": 3}, "admin": True, "aud": "me"}


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


def document(*rules, namespace="foo", **spec):
    return RequestAuthentication.model_validate(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "r", "namespace": namespace},
            "spec": {"jwtRules": list(rules)} | spec,
        }
    )


def issuer(name=ISSUER, *, jwks=None, **more):
    return {"issuer": name, "jwks": jwks or key_set()} | more


def chain(*rules, key_sets=None, clock=None):
    return with_ring(KeyRing(key_sets), *rules, clock=clock)


def with_ring(ring, *rules, clock=None):
    return authentication_chain([document(*(rules or (issuer(),)))], ring, SCOPE, clock or Clock())


def send(made, *fields, target="/"):
    """The exchange afterwards, and the reply if there is one."""
    exchange = exchange_of(request(target, headers=fields))
    replies = [reply for step in made.on_request if (reply := step(exchange)) is not None]
    return exchange, replies[0] if replies else None


def bearer(text):
    return ("authorization", f"Bearer {text}")


def refusal(made, *fields, **more):
    exchange, reply = send(made, *fields, **more)
    assert exchange.token is None
    assert reply.status == 401
    return reply.details.removeprefix("jwt_authn_access_denied{").removesuffix("}")


def test_a_good_token_is_believed_and_taken_out():
    exchange, reply = send(chain(), bearer(token()), ("x-a", "1"))
    assert reply is None
    assert (exchange.token.issuer, exchange.token.subject) == (ISSUER, "alice")
    assert exchange.head.headers == [(b"x-a", b"1")]
    assert exchange.head.get(b"authorization") is None
    claims = json.dumps({"iss": ISSUER, "sub": "alice", "aud": []}, separators=(",", ":"))
    assert exchange.facts == {"token": f"{ISSUER}/alice", "claims": claims}


def test_a_request_without_a_token_is_nobodys():
    for fields in ([], [("authorization", "Basic YTpi")], [("authorization", "Bearer")]):
        exchange, reply = send(chain(), *fields)
        assert (exchange.token, reply) == (None, None)
        assert len(exchange.head.headers) == len(fields)


def test_a_bad_token_is_answered_as_rfc_6750_says():
    _, reply = send(chain(), bearer("nonsense"))
    assert reply.status == 401
    assert reply.headers == ((b"www-authenticate", b'Bearer realm="a.test", error="invalid_token"'),)
    assert reply.details == "jwt_authn_access_denied{not of the form header.payload.signature}"


def test_a_token_that_is_asked_for_and_missing():
    _, reply = send(chain(issuer(presence="REQUIRED")))
    assert (reply.status, reply.headers) == (401, ((b"www-authenticate", b'Bearer realm="a.test"'),))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (token(which=1), "wrong signature"),
        (token(exp=NOW - 61), "expired"),
        (token(iss="https://evil.test"), "an issuer that is not believed here: 'https://evil.test'"),
        (token(iss="x" * 999), f"an issuer that is not believed here: {'x' * 128!r}"),
    ],
)
def test_why_a_token_is_refused(text, why):
    assert refusal(chain(), bearer(text)) == why


def test_the_scheme_is_written_in_any_case_and_no_second_field_is_overlooked():
    assert send(chain(), ("authorization", f"bEaReR {token()}"))[0].token
    assert refusal(chain(), bearer(token()), bearer("nonsense"))
    assert refusal(chain(), bearer("nonsense"), bearer(token()))


def test_two_issuers_have_keys_of_their_own():
    made = chain(issuer(), issuer("https://two.test", jwks=key_set(public("EdDSA")), audiences=["me"]))
    assert send(made, bearer(token("EdDSA", iss="https://two.test", aud="me")))[0].token.issuer == "https://two.test"
    assert send(made, bearer(token()))[0].token.issuer == ISSUER
    assert refusal(made, bearer(token("EdDSA"))) == "no key for it"
    assert refusal(made, bearer(token("EdDSA", iss="https://two.test"))) == "another audience"


def test_one_issuer_in_two_rules():
    made = chain(issuer(audiences=["a"]), issuer(audiences=["b"]))
    for name in "ab":
        assert send(made, bearer(token(aud=name)))[0].token
    assert refusal(made, bearer(token(aud="c"))) == "another audience"


PLACES = {
    "fromHeaders": [{"name": "X-Jwt", "prefix": "jwt "}, {"name": "x-plain"}],
    "fromParams": ["tok en"],
    "fromCookies": ["session"],
}


def test_tokens_stand_where_the_rule_says_and_nowhere_else():
    made, good = chain(issuer(**PLACES)), token()
    for field in (("x-jwt", f"jwt {good}"), ("x-plain", good), ("cookie", f"a=1; session={good}; b=2")):
        assert send(made, field)[0].token, field
    assert send(made, target=f"/p?a=1&tok%20en={good}")[0].token
    assert send(made, target=f"/p?tok+en={good}")[0].token
    for field in (bearer(good), ("x-jwt", good), ("cookie", f"other={good}")):
        exchange, reply = send(made, field)
        assert (exchange.token, reply) == (None, None)
        assert exchange.head.headers == [(field[0].encode(), field[1].encode())]


def test_a_forged_token_under_another_spelling_of_its_field_is_not_overlooked():
    """An app behind CGI reads X_Jwt as X-Jwt, and believes tokens because its sidecar has verified them."""
    made = chain(issuer(fromHeaders=[{"name": "X-Jwt-Token"}], forwardOriginalToken=True))
    assert refusal(made, ("x_jwt_token", "forged")) == refusal(made, ("x-jwt-token", "forged"))
    assert refusal(made, ("x-jwt-token", token()), ("x.jwt-token", "forged")) == refusal(
        made, ("x-jwt-token", "forged")
    )
    made = chain(issuer(fromHeaders=[{"name": "X-Jwt-Token"}]))
    exchange, reply = send(made, ("x_jwt_token", token()))
    assert (reply, exchange.head.values(b"x-jwt-token")) == (None, [])
    assert exchange.token


def test_a_token_of_one_issuer_is_not_taken_from_the_place_of_another():
    made = chain(issuer(fromHeaders=[{"name": "x-one"}]), issuer("https://two.test", fromHeaders=[{"name": "x-two"}]))
    assert refusal(made, ("x-two", token())).startswith("an issuer that is not believed here")
    assert send(made, ("x-one", token()))[0].token
    assert refusal(made, ("x-two", token())).startswith("an issuer that is not believed here")  # though remembered


def test_the_token_is_taken_out_of_wherever_it_stood():
    made, good = chain(issuer(**PLACES)), token()
    fields = [("x-jwt", f"jwt {good}"), ("x-plain", good), ("cookie", f"a=1; session={good}; b=2"), ("x-a", "1")]
    exchange, reply = send(made, *fields, target=f"/p?a=1&tok+en={good}&b=2")
    assert reply is None
    assert exchange.head.headers == [(b"cookie", b"a=1; b=2"), (b"x-a", b"1")]
    assert exchange.head.target == b"/p?a=1&b=2"
    exchange, _ = send(made, ("cookie", f"session={good}"), target=f"/p?tok+en={good}")
    assert (exchange.head.headers, exchange.head.target) == ([], b"/p")


def test_the_token_goes_on_when_the_rule_says_so():
    good = token()
    exchange, _ = send(chain(issuer(forwardOriginalToken=True)), bearer(good))
    assert exchange.head.get(b"authorization") == f"Bearer {good}".encode()


OUTPUTS = {
    "outputPayloadToHeader": "X-Payload",
    "outputClaimToHeaders": [
        {"header": "x-sub", "claim": "sub"},
        {"header": "x-unit", "claim": "org.unit"},
        {"header": "x-level", "claim": "org.level"},
        {"header": "x-admin", "claim": "admin"},
        {"header": "x-groups", "claim": "groups"},
        {"header": "x-none", "claim": "none"},
        {"header": "x-scope", "claim": "scope"},
    ],
}


def test_claims_are_handed_to_the_app():
    head = send(chain(issuer(**OUTPUTS)), bearer(token(**CLAIMS)))[0].head
    payload = json.loads(base64.urlsafe_b64decode(head.get(b"x-payload") + b"=="))
    assert payload["groups"] == ["a", "b"]
    assert [head.get(name) for name in (b"x-sub", b"x-unit", b"x-level")] == [b"alice", b"shop", b"3"]
    assert (head.get(b"x-admin"), head.get(b"x-none"), head.get(b"x-scope")) == (b"true", None, b"read write")
    assert head.get(b"x-groups") == encode(b'["a", "b"]').encode()


def test_claims_with_dots_in_their_names_are_handed_to_the_app():
    names = {"x-space": "kubernetes.io.namespace", "x-role": "https://shop.test/role", "x-kind": "realm.kind"}
    outputs = [{"header": header, "claim": claim} for header, claim in names.items()]
    claims = {"kubernetes.io": {"namespace": "team-a"}, "https://shop.test/role": "admin", "realm": {"kind": "full"}}
    head = send(chain(issuer(outputClaimToHeaders=outputs)), bearer(token(**claims)))[0].head
    assert [head.get(name.encode()) for name in names] == [b"team-a", b"admin", b"full"]


@pytest.mark.parametrize("value", ["a\r\nx-admin: true", "\x00", "é", "a\tb"])
def test_a_claim_that_is_no_field_value_is_encoded(value):
    head = send(chain(issuer(**OUTPUTS)), bearer(token(sub=value)))[0].head
    assert head.get(b"x-sub") == encode(json.dumps(value).encode()).encode()


def test_nobody_else_fills_the_fields_that_claims_fill():
    forged = [("x-sub", "root"), ("X-Payload", "e30"), ("x-none", "1"), ("x-a", "1")]
    forged += [("X_Sub", "root"), ("x_none", "root"), ("x.payload", "root")]
    for fields in (forged, [*forged, bearer(token())]):
        exchange, _ = send(chain(issuer(**OUTPUTS)), *fields)
        assert b"root" not in dict(exchange.head.headers).values()
        assert exchange.head.get(b"x-none") is None
        assert exchange.head.get(b"x-a") == b"1"


def test_a_remembered_token_still_expires():
    clock = Clock()
    made, good = chain(clock=clock), token(exp=NOW + 10)
    assert send(made, bearer(good))[0].token
    clock.now = NOW + 71
    assert refusal(made, bearer(good)) == "expired"
    clock.now = NOW
    assert send(made, bearer(good))[0].token


@pytest.mark.slow
def test_what_is_remembered_is_bounded_and_only_good():
    made = chain()
    authenticator = made.on_request[0].__self__
    for number in range(20):
        refusal(made, bearer(token(which=1, sub=str(number))))
    assert repr(authenticator) == "<Authenticator of 1 issuers, 0 tokens remembered>"
    for number in range(MAX_REMEMBERED + 5):
        send(made, bearer(token(sub=str(number))))
    assert repr(authenticator) == f"<Authenticator of 1 issuers, {MAX_REMEMBERED} tokens remembered>"


def test_a_request_has_few_tokens():
    fields = [bearer(token(sub=str(number))) for number in range(MAX_TOKENS + 1)]
    assert send(chain(), *fields[:-1])[1] is None
    assert refusal(chain(), *fields) == "too many tokens"


def test_keys_that_are_fetched_and_keys_that_could_not_be():
    one = {"issuer": ISSUER, "jwksUri": "https://issuer.test/keys"}
    assert send(chain(one, key_sets={"https://issuer.test/keys": key_set()}), bearer(token()))[0].token
    for found in ({}, {"https://issuer.test/keys": "no keys at all"}):
        made = chain(one, issuer("https://two.test"), key_sets=found)
        assert refusal(made, bearer(token())) == "the keys of its issuer could not be had"
        assert send(made, bearer(token(iss="https://two.test")))[0].token  # another's failure is not ours
        assert send(made)[1] is None


URI = "https://issuer.test/keys"
FETCHED = {"issuer": ISSUER, "jwksUri": URI}
NAMED = key_set(public("ES256", kid="a"))


def test_a_key_that_was_taken_back_is_good_no_longer_and_a_new_one_is_at_once():
    ring = KeyRing({URI: key_set()})
    made = with_ring(ring, FETCHED)
    old, new = bearer(token()), bearer(token("EdDSA"))
    assert send(made, old)[1] is None
    assert send(made, old)[1] is None  # remembered
    assert refusal(made, new) == "no key for it"
    ring.update({URI: key_set(public("EdDSA"))})
    assert refusal(made, old) == "no key for it"
    assert send(made, new)[1] is None
    ring.update({URI: json.dumps({"keys": []})})
    assert refusal(made, new) == "the keys of its issuer could not be had"
    ring.update({})
    assert refusal(made, new) == "the keys of its issuer could not be had"


@pytest.mark.parametrize(
    ("keys", "sent", "wanted"),
    [
        (NAMED, token(header={"kid": "b"}), [URI]),
        (NAMED, token("EdDSA", header={"kid": "a"}), [URI]),
        (NAMED, token(header={"kid": "a"}), []),  # good
        (NAMED, token(header={"kid": "a"}) + "AA", []),  # a key that is known, and did not sign it
        (NAMED, token("RS256", header={"kid": "a", "alg": "ES256"}), []),
        (
            key_set(public("RS256")),
            token("RS256", which=1),
            [URI],
        ),  # keys without names: another may have taken its place
        (NAMED, token(header={"kid": "b"}, iss="https://other.test"), []),
        (NAMED, token(header={"kid": "a"}, exp=1), []),
        (NAMED, "a.b.c", []),
    ],
)
def test_a_key_that_is_missing_is_wanted_once(keys, sent, wanted):
    ring = KeyRing({URI: keys})
    made = with_ring(ring, FETCHED)
    send(made, bearer(sent))
    send(made, bearer(sent))
    assert ring.take_wanted() == wanted
    assert ring.take_wanted() == []


def test_no_set_is_wanted_for_an_issuer_that_another_rule_verifies_or_whose_keys_are_inline():
    ring = KeyRing({URI: key_set(public("EdDSA"))})
    assert send(with_ring(ring, FETCHED, issuer()), bearer(token()))[1] is None
    assert refusal(with_ring(ring, issuer()), bearer(token("EdDSA"))) == "no key for it"
    assert ring.take_wanted() == []


def test_an_empty_place_holds_no_token():
    made = chain(issuer(fromHeaders=[{"name": "x-token"}], fromParams=["t"]))
    for fields, target in (([("x-token", "")], "/"), ([], "/?t=")):
        exchange, reply = send(made, *fields, target=target)
        assert (exchange.token, reply) == (None, None)


@pytest.mark.parametrize(
    ("namespace", "spec", "selected"),
    [
        ("foo", {}, True),
        ("bar", {}, False),
        ("istio-system", {}, True),
        ("foo", {"selector": {"matchLabels": {"app": "web"}}}, True),
        ("foo", {"selector": {"matchLabels": {"app": "db"}}}, False),
        ("foo", {"targetRef": {"kind": "Gateway", "name": "g"}}, False),
    ],
)
def test_documents_are_for_the_workloads_that_they_select(namespace, spec, selected):
    made = authentication_chain([document(issuer(), namespace=namespace, **spec)], KeyRing(), SCOPE, Clock())
    assert bool(made.on_request) is selected


# -- together with authorization ---------------------------------------------------------------------------------------


def allowed(wanted, **claims):
    """Whether a policy of one rule takes a request with such a token; None for a request without."""
    exchange, reply = send(chain(), *([bearer(token(**claims))] if claims != {"none": True} else []))
    assert reply is None
    return Authorizer([policy(wanted)], SCOPE).decide(exchange).allowed


def when(key, *values):
    return rule(when=[{"key": key, "values": list(values)}])


def unless(key, *values):
    return rule(when=[{"key": key, "notValues": list(values)}])


@pytest.mark.parametrize(
    ("key", "takes", "leaves"),
    [
        (
            "request.auth.principal",
            [f"{ISSUER}/alice", f"{ISSUER}/*", f"{ISSUER}/al*", "*", "*ice", "*/alice"],
            ["alice", ISSUER],
        ),
        ("request.auth.audiences", ["me", "m*", "*"], ["you"]),
        ("request.auth.presenter", [], ["*", "me"]),
        ("request.auth.claims[scope]", ["read", "write", "*"], ["read write", "admin"]),
        ("request.auth.claims[groups]", ["a", "b", "*"], ["c", "a,b"]),
        ("request.auth.claims[org][unit]", ["shop", "sh*"], ["3"]),
        ("request.auth.claims[org]", [], ["shop", "*"]),
        ("request.auth.claims[org][level]", ["3", "*"], ["4", "30"]),
        ("request.auth.claims[org.level]", ["3", "*"], ["4"]),
        ("request.auth.claims[admin]", ["true", "*"], ["false", "True", "1"]),
        ("request.auth.claims[iss]", [ISSUER], ["x"]),
    ],
)
def test_conditions_on_claims(key, takes, leaves):
    for value in takes:
        assert allowed(when(key, value), **CLAIMS), value
        assert not allowed(unless(key, value), **CLAIMS), value
    for value in leaves:
        assert not allowed(when(key, value), **CLAIMS), value
        assert allowed(unless(key, value), **CLAIMS), value
    assert not allowed(when(key, "*"), none=True)
    assert allowed(unless(key, "*"), none=True)


def test_sources_by_principal_of_the_request():
    assert allowed(rule({"requestPrincipals": [f"{ISSUER}/alice"]}), **CLAIMS)
    assert not allowed(rule({"notRequestPrincipals": [f"{ISSUER}/alice"]}), **CLAIMS)
    assert not allowed(rule({"requestPrincipals": ["*"]}), none=True)
    assert allowed(rule({"notRequestPrincipals": ["*"]}), none=True)


def test_no_subject_passes_for_part_of_an_issuer():
    """`https://issuer.test/tenant/bob` is bob of the issuer `https://issuer.test/tenant`, and of no other."""
    wanted = rule({"requestPrincipals": [f"{ISSUER}/tenant/bob"]})
    assert not allowed(wanted, sub="tenant/bob")


def test_a_denial_names_the_principal_that_it_saw():
    exchange, _ = send(chain(), bearer(token()))
    verdict = Authorizer([policy(rule({"requestPrincipals": ["x/y"]}))], SCOPE).decide(exchange)
    assert (verdict.failed, verdict.observed) == ('requestPrincipals: ["x/y"]', f"{ISSUER}/alice")


def test_what_the_log_is_told_of_a_token_is_what_policies_look_at():
    noted = [("org", "unit"), ("groups",), ("scope",), ("nothing",)]
    made = authentication_chain([document(issuer())], KeyRing(), SCOPE, Clock(), noted)
    exchange, _ = send(made, bearer(token(**CLAIMS, secret="s3")))
    assert json.loads(exchange.facts["claims"]) == {
        "iss": ISSUER,
        "sub": "alice",
        "aud": ["me"],
        "[org][unit]": ["shop"],
        "[groups]": ["a", "b"],
        "[scope]": ["read", "write"],
        "[nothing]": [],
    }
    assert send(made)[0].facts == {"token": ""}
    exchange, _ = send(made, bearer(token(groups=["x" * MOST_TOLD])))
    assert exchange.facts == {"token": f"{ISSUER}/alice"}
