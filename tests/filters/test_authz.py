"""Istio's order of policies, and a verdict that says why."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.authorization import SCOPE, STRANGER, peer, policy, rule
from support.path_readings import PIECES, enumerate_readings
from support.requests import exchange_of

from meshd.core.chain import EMPTY_CHAIN
from meshd.core.decision import Verdict
from meshd.core.errors import ProtocolError
from meshd.filters.authz import Authorizer, authorization_chain, selects
from meshd.http.target import read_path

GETS, ADMIN = rule(None, {"methods": ["GET"]}), rule(None, {"paths": ["/admin*"]})


def decide(*policies, **request):
    return Authorizer(policies, SCOPE).decide(exchange_of(**request))


# -- against a naive reading of istio/api's authorization_policy.proto ------------------------------------------------

PEERS = [STRANGER, peer(), peer("b"), peer("b", "api", "other", "192.0.2.7")]
VALUES = {
    "principals": ["td/ns/a/sa/web", "td/ns/*", "*/sa/api", "*"],
    "namespaces": ["a", "b", "*"],
    "trustDomains": ["td", "other"],
    "ipBlocks": ["10.0.0.0/8", "192.0.2.0/24"],
    "methods": ["GET", "POST"],
    "paths": ["/admin", "/admin*", "*/x", "/{*}/x"],
    "hosts": ["shop.test", "*.test"],
    "ports": ["8080", "80"],
    "source.namespace": ["a", "*"],
    "source.ip": ["10.0.0.1"],
    "destination.port": ["8080"],
    "request.headers[x-role]": ["admin", "u*"],
}
SOURCE_FIELDS, OPERATION_FIELDS = (
    ["principals", "namespaces", "trustDomains", "ipBlocks"],
    [
        "methods",
        "paths",
        "hosts",
        "ports",
    ],
)
KEYS = ["source.namespace", "source.ip", "destination.port", "request.headers[x-role]"]


@st.composite
def fields(draw, names):
    found = {}
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        twin = draw(st.booleans())
        values = draw(st.lists(st.sampled_from(VALUES[name]), min_size=1, max_size=2, unique=True))
        found["not" + name[0].upper() + name[1:] if twin else name] = values
    return found


@st.composite
def conditions(draw):
    key = draw(st.sampled_from(KEYS))
    return {"key": key, draw(st.sampled_from(["values", "notValues"])): [draw(st.sampled_from(VALUES[key]))]}


rules = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(fields(SOURCE_FIELDS).map(lambda each: {"source": each}), min_size=1, max_size=2),
        "to": st.lists(fields(OPERATION_FIELDS).map(lambda each: {"operation": each}), min_size=1, max_size=2),
        "when": st.lists(conditions(), min_size=1, max_size=2),
    },
)
policies = st.tuples(st.sampled_from(["ALLOW", "DENY", "AUDIT"]), st.lists(rules, max_size=2), st.booleans()).filter(
    lambda each: each[1] or each[0] != "DENY"
)
requests = st.fixed_dictionaries(
    {
        "target": st.sampled_from(["/", "/admin", "/admin/x", "/a/x"]),
        "method": st.sampled_from(["GET", "POST"]),
        "authority": st.sampled_from(["shop.test", "shop.test:8080", "other"]),
        "headers": st.sampled_from([[], [("x-role", "admin")], [("x-role", "user")]]),
        "peer": st.sampled_from(PEERS),
    }
)


def text_holds(pattern, value):
    if pattern == "*":
        return value != ""
    if "{*}" in pattern:
        before, after = pattern.split("{*}")
        middle = value[len(before) : len(value) - len(after)]
        return value.startswith(before) and value.endswith(after) and middle != "" and "/" not in middle
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern


def observed(name, request):
    who = request["peer"]
    return {
        "principals": who.principal.decode(),
        "namespaces": who.namespace.decode(),
        "source.namespace": who.namespace.decode(),
        "trustDomains": who.trust_domain.decode(),
        "ipBlocks": who.address,
        "source.ip": who.address,
        "methods": request["method"],
        "paths": request["target"],
        "hosts": request["authority"].partition(":")[0],
        "ports": "8080",
        "destination.port": "8080",
        "request.headers[x-role]": dict(request["headers"]).get("x-role", ""),
    }[name]


def value_holds(name, value, request):
    seen = observed(name, request)
    if name in ("ipBlocks", "source.ip"):
        return {"10.0.0.0/8": seen.startswith("10."), "192.0.2.0/24": seen.startswith("192.0.2.")}.get(
            value, seen == value
        )
    return text_holds(value, seen)


def fields_hold(document, request):
    for field, values in document.items():
        twin = field.startswith("not")
        name = field[3].lower() + field[4:] if twin else field
        if any(value_holds(name, value, request) for value in values) is twin:
            return False
    return True


def condition_holds(document, request):
    yes = [value_holds(document["key"], value, request) for value in document.get("values", ())]
    no = [value_holds(document["key"], value, request) for value in document.get("notValues", ())]
    return (not yes or any(yes)) and not any(no)


def rule_holds(document, request):
    return (
        ("from" not in document or any(fields_hold(each["source"], request) for each in document["from"]))
        and ("to" not in document or any(fields_hold(each["operation"], request) for each in document["to"]))
        and all(condition_holds(each, request) for each in document.get("when", ()))
    )


def naive(given_policies, request):
    """Allowed or not, by the words of the API: dry runs and AUDIT change nothing."""
    acting = [(action, documents) for action, documents, dry in given_policies if not dry]

    def matches(action):
        return any(rule_holds(each, request) for wanted, documents in acting if wanted == action for each in documents)

    if matches("DENY"):
        return False
    return matches("ALLOW") or not any(action == "ALLOW" for action, _ in acting)


@settings(max_examples=120)
@given(st.lists(policies, max_size=4), st.lists(requests, min_size=1, max_size=5))
@pytest.mark.slow
def test_policies_decide_as_the_naive_reading(given_policies, several):
    built = [
        policy(*documents, action=action, name=f"p{place}", annotations={"istio.io/dry-run": "true"} if dry else None)
        for place, (action, documents, dry) in enumerate(given_policies)
    ]
    authorizer = Authorizer(built, SCOPE)
    for request in several:
        verdict = authorizer.decide(exchange_of(**request))
        assert verdict.allowed is naive(given_policies, request)
        assert (authorizer.step(exchange_of(**request)) is None) is verdict.allowed


@given(st.lists(policies, max_size=3), requests, st.randoms(use_true_random=False))
def test_the_order_of_documents_says_nothing(given_policies, request, random):
    built = [
        policy(*documents, action=action, name=f"p{place}")
        for place, (action, documents, _) in enumerate(given_policies)
    ]
    shuffled = random.sample(built, len(built))
    assert decide(*built, **request) == decide(*shuffled, **request)


# -- the verdict ------------------------------------------------------------------------------------------------------


def test_without_a_policy_everything_is_allowed_and_nothing_runs():
    assert decide() == Verdict(allowed=True)
    assert authorization_chain([], SCOPE) is EMPTY_CHAIN
    assert authorization_chain([policy(GETS, namespace="other")], SCOPE) is EMPTY_CHAIN


def test_an_allow_policy_without_rules_admits_nobody():
    assert decide(policy()) == Verdict(allowed=False, failed="no ALLOW policy has a rule")
    assert decide(policy(), policy({}, name="q")).allowed


def test_deny_goes_before_allow_and_is_named():
    found = decide(policy({}), policy(GETS, ADMIN, action="DENY", name="no"), target="/admin", method="POST")
    assert found == Verdict(allowed=False, action="DENY", policy="foo/no", rule=1)


def test_what_allowed_is_named():
    found = decide(policy(ADMIN, name="a"), policy(ADMIN, GETS, name="b"))
    assert found == Verdict(allowed=True, action="ALLOW", policy="foo/b", rule=1)


def test_of_several_that_match_or_are_as_near_the_first_by_name_is_named():
    both = [policy(GETS, GETS, name="b"), policy(GETS, GETS, name="a")]
    assert (decide(*both).policy, decide(*both).rule) == ("foo/a", 0)
    assert decide(*both, method="POST").nearest == "foo/a rule 0"
    root = policy(GETS, name="z", namespace="istio-system")
    assert decide(root, *both).policy == "foo/a"
    assert decide(policy(GETS, action="DENY", name="n"), root, *both).policy == "foo/n"


def test_a_denial_names_the_nearest_rule_its_first_failure_and_what_was_seen():
    far = rule({"namespaces": ["b"]}, {"methods": ["PUT"]})
    near = rule({"namespaces": ["a"]}, {"methods": ["GET"]})
    found = decide(policy(far, near, name="some"), policy(far, name="other"), peer=peer(), method="POST")
    assert found == Verdict(allowed=False, nearest="foo/some rule 1", failed='methods: ["GET"]', observed="POST")


def test_an_absent_value_is_seen_as_nothing_and_odd_octets_as_text():
    assert decide(policy(rule({"principals": ["*"]}))).observed == "nothing"
    exchange = exchange_of()
    exchange.head.headers = [(b"x", b"\xff")]
    wanted = policy(rule(when=[{"key": "request.headers[x]", "values": ["a"]}]))
    assert Authorizer([wanted], SCOPE).decide(exchange).observed == "\\xff"


@pytest.mark.parametrize(
    ("policies_given", "details"),
    [
        ([policy(GETS, action="DENY", name="no")], "rbac_access_denied_matched_policy[ns[foo]-policy[no]-rule[0]]"),
        (
            [policy(ADMIN)],
            'rbac_access_denied_matched_policy[none] nearest foo/p rule 0: paths: ["/admin*"], saw /',
        ),
        ([policy()], "rbac_access_denied_matched_policy[none]"),
    ],
)
def test_a_denial_is_answered_with_403_and_its_cause(policies_given, details):
    (step,) = authorization_chain(policies_given, SCOPE).on_request
    exchange = exchange_of()
    reply = step(exchange)
    assert (reply.status, reply.error, reply.body) == (403, "http_request_denied", b"RBAC: access denied")
    assert reply.details == details
    assert not exchange.verdict.allowed


def test_what_is_audited_or_only_tried_is_noted_and_changes_nothing():
    dry = {"istio.io/dry-run": "true"}
    authorizer = Authorizer(
        [
            policy(GETS, action="AUDIT", name="watch"),
            policy(GETS, action="DENY", name="try", annotations=dry),
            policy(annotations=dry, name="none"),
            policy(ADMIN, name="else", annotations=dry),
        ],
        SCOPE,
    )
    exchange = exchange_of()
    assert authorizer.step(exchange) is None
    assert exchange.facts == {"audit": "AUDIT foo/watch", "dry-run": "DENY foo/try"}
    other = exchange_of(method="POST")
    assert authorizer.step(other) is None
    assert other.facts is None
    assert repr(authorizer) == "<Authorizer 0 DENY, 0 ALLOW, 1 AUDIT rules>"


@pytest.mark.parametrize(
    ("given_policy", "selected"),
    [
        (policy(GETS), True),
        (policy(GETS, namespace="istio-system"), True),
        (policy(GETS, namespace="other"), False),
        (policy(GETS, selector={"matchLabels": {"app": "web"}}), True),
        (policy(GETS, selector={"matchLabels": {}}), True),
        (policy(GETS, selector={"matchLabels": {"app": "api"}}), False),
        (policy(GETS, selector={"matchLabels": {"app": "web", "v": "1"}}), False),
        (policy(GETS, targetRef={"kind": "Gateway", "name": "g"}), False),
        (policy(GETS, targetRefs=[{"kind": "Service", "name": "web"}]), False),
    ],
)
def test_a_policy_is_for_the_workloads_it_selects(given_policy, selected):
    assert selects(given_policy, SCOPE) is selected


def test_each_rule_is_listed_under_what_it_does():
    dry = {"istio.io/dry-run": "true"}
    policies = [policy(GETS, action=action, name=action.lower()) for action in ("ALLOW", "DENY", "AUDIT")]
    made = Authorizer([*policies, policy(GETS, ADMIN, action="DENY", name="try", annotations=dry)], SCOPE)
    assert [len(entries) for entries in (made.allow, made.deny, made.audit, made.shadow)] == [1, 1, 1, 2]


# -- every way to read a path ------------------------------------------------------------------------------------------

PATTERNS = ["/admin", "/admin*", "/public/*", "*/admin", "/a", "/*", "/public/{*}", "/{**}/admin"]
PATHS = st.lists(st.sampled_from(PIECES), max_size=5).map(lambda parts: b"/" + b"".join(parts))
OPERATIONS = st.sampled_from(["paths", "notPaths"]).flatmap(
    lambda name: st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2, unique=True).map(
        lambda values: policy_of(name, values)
    )
)


def policy_of(name, values):
    return rule(None, {name: values})


def naive_match(pattern, reading):
    source = re.escape(pattern).replace(r"\{\*\*\}", ".*").replace(r"\{\*\}", "[^/]+").replace(r"\*", ".*")
    return re.fullmatch(source, reading.decode("latin-1"), re.DOTALL) is not None


def naive_allows(rules, reading):
    """By the letter, for one reading."""

    def holds(each):
        operation = each["to"][0]["operation"]
        wanted, unwanted = operation.get("paths"), operation.get("notPaths", ())
        found = wanted is None or any(naive_match(pattern, reading) for pattern in wanted)
        return found and not any(naive_match(pattern, reading) for pattern in unwanted)

    if any(holds(each) for action, each in rules if action == "DENY"):
        return False
    allow = [each for action, each in rules if action == "ALLOW"]
    return not allow or any(map(holds, allow))


@given(st.lists(st.tuples(st.sampled_from(["ALLOW", "DENY"]), OPERATIONS), min_size=1, max_size=12), PATHS)
def test_no_policy_is_more_open_than_its_strictest_reading(rules, path):
    exchange = exchange_of()
    try:
        read_path(exchange.head, path)
    except ProtocolError:
        return
    normal = exchange.head.path
    policies = [policy(each, action=action, name=f"p{place}") for place, (action, each) in enumerate(rules)]
    allowed = Authorizer(policies, SCOPE).decide(exchange).allowed
    assert not allowed or all(naive_allows(rules, reading) for reading in enumerate_readings(path))
    assert exchange.head.path == normal
    if exchange.head.forms is None:
        assert allowed is naive_allows(rules, path)


@pytest.mark.parametrize(
    ("operation", "action", "path", "allowed"),
    [
        ({"paths": ["/admin*"]}, "DENY", b"/%2Fadmin", False),
        ({"paths": ["/admin*"]}, "DENY", b"/x%2fy", True),
        ({"notPaths": ["/public/*"]}, "DENY", b"/public/..%5cadmin", False),
        ({"notPaths": ["/admin*"]}, "ALLOW", b"/x;/..%3Bv=1%2F../admin", False),
        ({"paths": ["/public/*"]}, "ALLOW", b"/public/a%2Fb", True),
        ({"paths": ["/public/*"]}, "ALLOW", b"/public//../admin", False),
        ({"paths": ["/api/group%2Fproject"]}, "ALLOW", b"/api/group%2Fproject", False),
        ({"paths": ["/api/group%2Fproject", "/api/group/project"]}, "ALLOW", b"/api/group%2fproject", True),
        ({"paths": ["/items[0]"]}, "ALLOW", b"/items%5b0%5d", True),
        ({"paths": ["/a b"]}, "DENY", b"/a%20b", False),
        ({"paths": ["/a%20b"]}, "ALLOW", b"/a%20b", True),
        ({"paths": ["/admin"]}, "ALLOW", b"/%61dmin", False),
        ({"paths": ["/admin*"]}, "DENY", b"/%61dmin", False),
    ],
)
def test_a_path_is_allowed_if_every_reading_is(operation, action, path, allowed):
    exchange = exchange_of()
    read_path(exchange.head, path)
    verdict = Authorizer([policy(rule(None, operation), action=action)], SCOPE).decide(exchange)
    assert verdict.allowed is allowed


def test_a_denial_says_which_reading_it_is_about():
    exchange = exchange_of()
    read_path(exchange.head, b"/public/..%2Fadmin")
    verdict = Authorizer([policy(rule(None, {"paths": ["/public/*"]}))], SCOPE).decide(exchange)
    assert (verdict.allowed, verdict.observed) == (False, "/admin")


def test_a_path_that_nobody_can_read_in_full_is_denied_where_paths_matter():
    exchange = exchange_of()
    read_path(exchange.head, b"/a/..//%2F%5C%3B%23%5C/%3F/%2e%3B.\\" * 3)
    assert exchange.head.readings == ()
    by_path = Authorizer([policy(rule(None, {"notPaths": ["/x"]}))], SCOPE)
    assert "ways to read it" in by_path.decide(exchange).failed
    assert Authorizer([policy(rule(None, {"methods": ["GET"]}))], SCOPE).decide(exchange).allowed


def test_a_condition_on_the_path_sees_every_reading():
    when = [{"key": "request.headers[:path]", "values": ["/admin?x=1"]}]
    exchange = exchange_of(target="/?x=1")
    read_path(exchange.head, b"/a/..%2Fadmin")
    assert not Authorizer([policy({"when": when}, action="DENY")], SCOPE).decide(exchange).allowed


@pytest.mark.parametrize(
    ("operation", "action", "path", "status"),
    [
        ({"paths": ["/admin*"]}, "DENY", b"/%2561dmin", 400),
        ({"paths": ["/admin*"]}, "DENY", b"/%25%36%31dmin", 400),
        ({"paths": ["/admin*"]}, "DENY", b"/x%252%66..%25%32fadmin", 400),
        ({"paths": ["/public/*"]}, "ALLOW", b"/public/%252e%252e/admin", 400),
        ({"paths": ["/public/*"]}, "ALLOW", b"/public/100%25", 0),
        ({"paths": ["/public/*"]}, "ALLOW", b"/public/a%252Fb", 0),
        ({"paths": ["/public/*"]}, "ALLOW", b"/%252e", 403),
    ],
)
def test_what_is_denied_only_if_it_is_decoded_twice_is_malformed(operation, action, path, status):
    exchange = exchange_of()
    read_path(exchange.head, path)
    reply = Authorizer([policy(rule(None, operation), action=action)], SCOPE).step(exchange)
    assert (reply.status if reply else 0) == status


# -- the client --------------------------------------------------------------------------------------------------------

NETWORK = ["203.0.113.0/24"]
SAYING = replace(SCOPE, trusts_proxies=True)


def client_verdict(field, action, forwarded_for, *, scope=SCOPE, client=""):
    exchange = exchange_of(headers=[("x-forwarded-for", forwarded_for)] if forwarded_for else [], peer=peer())
    exchange.client = client
    when = [{"key": "remote.ip", "values" if field == "remoteIpBlocks" else "notValues": NETWORK}]
    verdicts = {
        Authorizer([policy(each, action=action)], scope).decide(exchange).allowed
        for each in (rule({field: NETWORK}), {"when": when})
    }
    (verdict,) = verdicts
    return verdict


@pytest.mark.parametrize(
    ("forwarded_for", "some_within", "some_without"),
    [
        ("", False, True),
        ("10.0.0.1", False, True),
        ("203.0.113.9, 10.0.0.1", True, True),
        ("192.0.2.1, 10.0.0.1", False, True),
        ("203.0.113.9, 192.0.2.1, 10.0.0.1", True, True),
        ("203.0.113.9:80, 10.0.0.1", True, True),
        ("::ffff:203.0.113.9, 10.0.0.1", True, True),
        ("nonsense, 10.0.0.1", True, True),
    ],
)
def test_without_a_word_on_proxies_every_address_may_be_the_clients(forwarded_for, some_within, some_without):
    """remoteIpBlocks was another name for ipBlocks: in a mesh, where each peer is a sidecar, it never denied."""
    assert client_verdict("remoteIpBlocks", "DENY", forwarded_for) is not some_within
    assert client_verdict("notRemoteIpBlocks", "DENY", forwarded_for) is not some_without
    assert client_verdict("remoteIpBlocks", "ALLOW", forwarded_for) is not some_without
    assert client_verdict("notRemoteIpBlocks", "ALLOW", forwarded_for) is not some_within


@pytest.mark.parametrize(("client", "within"), [("203.0.113.9", True), ("192.0.2.1", False), ("", False)])
def test_with_trusted_proxies_the_client_is_one_address(client, within):
    for field, action, matches in (
        ("remoteIpBlocks", "DENY", within),
        ("notRemoteIpBlocks", "DENY", not within),
        ("remoteIpBlocks", "ALLOW", within),
        ("notRemoteIpBlocks", "ALLOW", not within),
    ):
        allowed = client_verdict(field, action, "203.0.113.1, 10.0.0.1", scope=SAYING, client=client)
        assert allowed is (matches == (action == "ALLOW"))


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize("field", ["remoteIpBlocks", "notRemoteIpBlocks"])
def test_a_client_that_nobody_knows_is_let_in_by_no_rule_on_networks(field, action):
    """A trusted proxy's word that was no address fell back to the proxy's own, which is within the mesh's network."""
    assert client_verdict(field, action, "unknown, 10.0.0.1", scope=SAYING, client="unknown") is False
    assert client_verdict(field, action, "203.0.113.9:x, 10.0.0.1") is False
