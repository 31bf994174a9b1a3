"""Every field of a rule, with its twin, against what it looks at."""

import pytest
from support.authorization import SCOPE, STRANGER, peer, rule
from support.requests import exchange_of

from meshd.config.authorization import Rule
from meshd.filters.authz_rules import compile_blocks, compile_rule


def compiled(document, *, deny=False, namespace="foo"):
    return compile_rule(Rule.model_validate(document), namespace, SCOPE, deny=deny)


def holds(document, exchange, *, deny=False):
    return compiled(document, deny=deny).holds(exchange)


WEB = peer(server_name="web.foo", local_address="10.9.9.9")
GET = {"target": "/api/v1?q=1", "method": "GET", "authority": "shop.test:80"}

SOURCES = [  # field, values that WEB has, values that it has not
    ("principals", ["td/ns/a/sa/web", "td/ns/a/*", "*/sa/web", "*", "spiffe://td/ns/a/sa/web"], ["td/ns/b/*", "web"]),
    ("principals", ["cluster.local/ns/a/sa/web", "old-td/ns/a/sa/web"], ["other/ns/a/sa/web"]),
    ("namespaces", ["a", "*"], ["b", "a2*"]),
    ("serviceAccounts", ["a/web"], ["web", "b/web", "a/other"]),
    ("trustDomains", ["td", "t*"], ["old-td"]),
    ("ipBlocks", ["10.0.0.1", "10.0.0.0/8", "0.0.0.0/0"], ["10.0.0.2", "10.1.0.0/16", "::/0"]),
    ("remoteIpBlocks", ["10.0.0.1/32"], ["192.0.2.0/24"]),
    ("requestPrincipals", [], ["*", "issuer/subject"]),
]
OPERATIONS = [
    ("hosts", ["shop.test", "SHOP.test", "shop.test:80", "*.test", "shop*", "*"], ["test", "shop.test:81"]),
    ("ports", ["8080", "08080"], ["80", "8081"]),
    ("methods", ["GET", "G*", "*"], ["get", "POST"]),
    ("paths", ["/api/v1", "/api/*", "*/v1", "/{*}/v1", "/api/{**}", "*"], ["/api", "/api/v1?q=1", "/{*}"]),
]
CONDITIONS = [
    ("source.ip", ["10.0.0.0/8"], ["10.0.0.2"]),
    ("remote.ip", ["10.0.0.1"], ["10.0.0.2"]),
    ("source.namespace", ["a", "*"], ["b"]),
    ("source.principal", ["td/ns/a/sa/web", "cluster.local/ns/a/*"], ["td/ns/b/*"]),
    ("source.serviceAccount", ["a/web"], ["web", "b/web"]),
    ("source.trustDomain", ["td", "t*", "*"], ["other", "td/ns"]),
    ("destination.ip", ["10.9.9.9", "10.9.0.0/16"], ["10.0.0.1"]),
    ("destination.port", ["8080", "08080"], ["80"]),
    ("connection.sni", ["web.foo", "*.foo", "Web.foo", "*.Foo"], ["web"]),
    ("request.auth.principal", [], ["*"]),
    ("request.auth.claims[iss]", [], ["*"]),
    ("request.headers[X-Role]", ["admin", "ad*", "*"], ["Admin", "user"]),
    ("request.headers[absent]", [], ["*", "x"]),
    ("request.headers[Host]", ["shop.test", "Shop.test:80"], ["other"]),
    ("request.headers[:authority]", ["shop.test"], ["other"]),
    ("request.headers[:method]", ["GET"], ["POST"]),
    ("request.headers[:path]", ["/api/v1?q=1", "*q=1"], ["/api/v1"]),
    ("request.headers[:scheme]", ["http"], ["https"]),
    ("request.headers[upgrade]", ["websocket"], ["h2c"]),
]


def each(table):
    return [
        (field, value, expected)
        for field, yes, no in table
        for value, expected in [*((one, True) for one in yes), *((one, False) for one in no)]
    ]


def sent():
    exchange = exchange_of(peer=WEB, headers=[("x-role", "admin")], **GET)
    exchange.head.upgrade = b"websocket"
    return exchange


def twin(field):
    return "not" + field[0].upper() + field[1:]


@pytest.mark.parametrize("deny", [True, False])
@pytest.mark.parametrize(("field", "value", "expected"), each(SOURCES))
def test_sources_and_their_twins(field, value, expected, deny):
    assert holds(rule(source={field: [value]}), sent(), deny=deny) is expected
    assert holds(rule(source={twin(field): [value]}), sent(), deny=deny) is not expected


@pytest.mark.parametrize("deny", [True, False])
@pytest.mark.parametrize(("field", "value", "expected"), each(OPERATIONS))
def test_operations_and_their_twins(field, value, expected, deny):
    assert holds(rule(operation={field: [value]}), sent(), deny=deny) is expected
    assert holds(rule(operation={twin(field): [value]}), sent(), deny=deny) is not expected


@pytest.mark.parametrize("deny", [True, False])
@pytest.mark.parametrize(("key", "value", "expected"), each(CONDITIONS))
def test_conditions_and_their_twins(key, value, expected, deny):
    assert holds(rule(when=[{"key": key, "values": [value]}]), sent(), deny=deny) is expected
    assert holds(rule(when=[{"key": key, "notValues": [value]}]), sent(), deny=deny) is not expected


PROOFS = ["principals", "namespaces", "serviceAccounts", "trustDomains", "requestPrincipals"]


@pytest.mark.parametrize("field", PROOFS)
def test_a_stranger_has_nothing_that_must_be_proved(field):
    exchange = exchange_of(peer=STRANGER)
    value = "a/web" if field == "serviceAccounts" else "*"
    assert not holds(rule(source={field: [value]}), exchange)
    assert holds(rule(source={twin(field): [value]}), exchange)


def test_an_account_without_a_namespace_is_of_the_policy_s():
    document = rule(source={"serviceAccounts": ["web"]})
    assert compiled(document, namespace="a").holds(sent())
    assert not compiled(document, namespace="b").holds(sent())


@pytest.mark.parametrize(
    ("address", "block", "expected"),
    [
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db8::1", "0.0.0.0/0", False),
        ("fe80::1%eth0", "fe80::/10", True),
        ("unix", "0.0.0.0/0", False),
        ("", "::/0", False),
        ("10.0.0.1", "10.0.0.7/24", True),
    ],
)
def test_addresses_of_every_kind(address, block, expected):
    exchange = exchange_of(peer=peer(address=address))
    for _ in range(2):  # once looked up, once remembered
        assert holds(rule(source={"ipBlocks": [block]}), exchange) is expected


def test_remembered_addresses_are_bounded():
    blocks = compiled(rule(source={"ipBlocks": ["10.0.0.0/8"]}))
    for number in range(5000):
        blocks.holds(exchange_of(peer=peer(address=f"10.0.{number >> 8}.{number & 255}")))
    assert blocks.holds(exchange_of(peer=peer(address="10.0.0.1")))
    assert not blocks.holds(exchange_of(peer=peer(address="11.0.0.1")))


REPEATED = [  # values sent; whether `values: [good]` holds in ALLOW, in DENY; the same for `notValues: [good]`
    (["good"], (True, True), (False, False)),
    (["bad"], (False, False), (True, True)),
    (["good", "good"], (True, True), (False, False)),
    (["good", "bad"], (False, True), (False, True)),
    (["bad", "good"], (False, True), (False, True)),
    (["bad", "worse"], (False, False), (True, True)),
    ([], (False, False), (True, True)),
]


@pytest.mark.parametrize(("values", "wanted", "unwanted"), REPEATED)
def test_a_repeated_header_opens_no_way_around(values, wanted, unwanted):
    """Allowed only when every value may; denied as soon as one value must be (CVE-2026-26308)."""
    exchange = exchange_of(headers=[("x-role", value) for value in values])
    yes = rule(when=[{"key": "request.headers[x-role]", "values": ["good"]}])
    no = rule(when=[{"key": "request.headers[x-role]", "notValues": ["good"]}])
    assert (holds(yes, exchange), holds(yes, exchange, deny=True)) == wanted
    assert (holds(no, exchange), holds(no, exchange, deny=True)) == unwanted


@pytest.mark.parametrize(("values", "wanted", "unwanted"), [([], False, True), (["x"], True, False)])
def test_a_star_is_about_whether_there_is_a_value(values, wanted, unwanted):
    exchange = exchange_of(headers=[("x-role", value) for value in values])
    for deny in (False, True):
        assert holds(rule(when=[{"key": "request.headers[x-role]", "values": ["*"]}]), exchange, deny=deny) is wanted
        assert (
            holds(rule(when=[{"key": "request.headers[x-role]", "notValues": ["*"]}]), exchange, deny=deny) is unwanted
        )


def test_an_empty_field_is_no_way_around_a_star():
    exchange = exchange_of(headers=[("x-role", "")])
    yes = rule(when=[{"key": "request.headers[x-role]", "values": ["*"]}])
    no = rule(when=[{"key": "request.headers[x-role]", "notValues": ["*"]}])
    assert (holds(yes, exchange), holds(yes, exchange, deny=True)) == (False, True)
    assert (holds(no, exchange), holds(no, exchange, deny=True)) == (False, True)


def test_values_of_a_list_are_alternatives_and_fields_must_all_hold():
    assert holds(rule(operation={"methods": ["POST", "GET"], "paths": ["/x", "/api/*"]}), sent())
    assert not holds(rule(operation={"methods": ["POST", "GET"], "paths": ["/x"]}), sent())
    assert not holds(rule(operation={"paths": ["/api/*"], "notPaths": ["/api/v1"]}), sent())


def test_sources_and_operations_are_alternatives_and_conditions_are_not():
    to = [{"operation": {"methods": ["POST"]}}, {"operation": {"methods": ["GET"]}}]
    origin = [{"source": {"namespaces": ["b"]}}, {"source": {"namespaces": ["a"]}}]
    assert holds({"from": origin, "to": to}, sent())
    assert not holds({"from": origin[:1], "to": to}, sent())
    assert not holds({"from": origin, "to": to[:1]}, sent())
    when = [{"key": "source.namespace", "values": ["a"]}, {"key": "destination.port", "values": ["1"]}]
    assert not holds({"when": when}, sent())
    assert holds({"when": when[:1]}, sent())


def test_an_empty_rule_matches_everything():
    assert holds({}, sent())
    assert holds({}, exchange_of(peer=STRANGER))
    assert compiled({}).first_failure(sent()) is None


@pytest.mark.parametrize(
    ("document", "name", "observed"),
    [
        (rule({"namespaces": ["b"]}), 'namespaces: ["b"]', b"a"),
        (rule({"notNamespaces": ["a"]}), 'notNamespaces: ["a"]', b"a"),
        (rule({"namespaces": ["a"]}, {"methods": ["POST", "PUT"]}), 'methods: ["POST", "PUT"]', b"GET"),
        (rule(None, {"methods": ["GET"], "paths": ["/x"]}), 'paths: ["/x"]', b"/api/v1"),
        (rule(None, {"ports": ["1"]}), 'ports: ["1"]', b"8080"),
        (rule(when=[{"key": "source.ip", "values": ["1.1.1.1"]}]), 'source.ip values: ["1.1.1.1"]', b"10.0.0.1"),
        (
            rule(when=[{"key": "request.headers[x-role]", "notValues": ["admin"]}]),
            'request.headers[x-role] notValues: ["admin"]',
            b"admin",
        ),
        (
            {"to": [{"operation": {"methods": ["PUT"]}}, {"operation": {"methods": ["GET"], "paths": ["/x"]}}]},
            'paths: ["/x"]',
            b"/api/v1",
        ),
    ],
)
def test_the_first_failure_is_named_with_what_was_seen(document, name, observed):
    _, check = compiled(document).first_failure(sent())
    assert (check.name, check.observed(sent())) == (name, observed)


def test_a_part_that_holds_outweighs_any_number_of_checks():
    many = {
        "from": [
            {
                "source": {
                    twin(field): ["1.1.1.1"]
                    for field in (
                        "principals",
                        "namespaces",
                        "trustDomains",
                        "ipBlocks",
                        "remoteIpBlocks",
                        "requestPrincipals",
                    )
                }
                | {
                    "principals": ["*"],
                    "namespaces": ["*"],
                    "trustDomains": ["*"],
                    "ipBlocks": ["10.0.0.1"],
                    "remoteIpBlocks": ["10.0.0.1"],
                    "requestPrincipals": ["*"],
                }
            }
        ]
    }
    few = rule({"namespaces": ["a"]}, {"methods": ["POST"]})
    assert compiled(few).first_failure(sent())[0] > compiled(many).first_failure(sent())[0]


@pytest.mark.parametrize("block", ["::ffff:10.0.0.0/104", "::ffff:a00:1/128", "10.0.0.0/8"])
def test_a_network_of_ipv4_in_the_words_of_ipv6_holds_its_addresses(block):
    """A peer is told by its IPv4 address, which is in no IPv6 network: such a denial never denied."""
    assert compile_blocks((block,))(b"10.0.0.1")
    assert not compile_blocks((block,))(b"192.0.2.1")
    assert not compile_blocks(("2001:db8::/32", "::/0"))(b"10.0.0.1")


@pytest.mark.parametrize(
    ("upgrade", "denied", "allowed"),
    [(None, False, False), (b"websocket", True, True), (b"WebSocket", True, True), (b"other, WebSocket", True, False)],
)
def test_no_way_to_write_an_upgrade_gets_past_a_rule(upgrade, denied, allowed):
    """Servers compare protocols without case: a DENY of `websocket` let `WebSocket` and lists pass."""
    exchange = exchange_of()
    exchange.head.upgrade = upgrade
    for written in ("websocket", "WEBSOCKET"):
        when = {"when": [{"key": "request.headers[Upgrade]", "values": [written]}]}
        assert compiled(when, deny=True).holds(exchange) is denied
        assert compiled(when).holds(exchange) is allowed
        when = {"when": [{"key": "request.headers[Upgrade]", "notValues": [written]}]}
        assert compiled(when, deny=True).holds(exchange) is not allowed
        assert compiled(when).holds(exchange) is not denied
