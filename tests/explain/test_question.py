"""A question becomes an exchange by the way that traffic takes."""

from dataclasses import replace

import pytest
from support.worlds import STOREFRONT, inbound, mtls, outbound, world_of

from meshd.core.errors import ProtocolError
from meshd.explain.question import Question, Unaskable, caller_named, peer_named
from meshd.identity.spiffe import InvalidSpiffeId


def test_its_head_is_what_the_codec_makes_of_its_octets():
    head = Question("POST", "/a/../b?x=1", "Web.Shop:80", headers=(("X-One", "1"), ("connection", "x-gone"))).head()
    assert (head.method, head.path, head.query, head.authority) == (b"POST", b"/b", b"x=1", b"web.shop:80")
    assert head.headers == [(b"x-one", b"1")]


def test_a_host_field_of_its_own_is_the_authority():
    assert Question(authority="web", headers=(("Host", "other"),)).head().authority == b"other"


@pytest.mark.parametrize("target", ["/..", "/%00", "/..;/b", "x"])
def test_what_the_codec_refuses_it_refuses(target):
    with pytest.raises(ProtocolError):
        Question(target=target, authority="web").head()


@pytest.mark.parametrize(
    "question",
    [
        Question(method="GET /x"),
        Question(method="GE\nT"),
        Question(target="/a b"),
        Question(authority="a\r\nx: y"),
        Question(headers=(("a b", "c"),)),
        Question(headers=(("a:", "c"),)),
        Question(headers=(("a", "c\r\nd: e"),)),
    ],
)
def test_nothing_is_smuggled_into_the_request(question):
    with pytest.raises(Unaskable):
        question.check()


def test_a_caller_must_be_an_identity():
    with pytest.raises(InvalidSpiffeId):
        Question(caller="spiffe://td/").check()


def test_the_peer_is_who_the_certificate_says():
    peer = peer_named("spiffe://TD/ns/a/sa/b")
    assert (peer.principal, peer.namespace, peer.service_account, peer.trust_domain) == (
        b"td/ns/a/sa/b",
        b"a",
        b"b",
        b"td",
    )
    assert peer.spiffe_id == "spiffe://td/ns/a/sa/b"


def test_without_tls_a_certificate_is_not_seen():
    world = world_of(mtls("DISABLE"))
    assert inbound().peer(world.plan(inbound())).principal == b""
    assert inbound().peer(world_of().plan(inbound())).spiffe_id == STOREFRONT
    for authority in ("Orders.shop:80", "orders", "orders.shop.svc", "orders.shop.svc.cluster.local"):
        named = replace(inbound(), authority=authority)
        assert named.peer(world_of().plan(named)).server_name == "orders.shop.svc.cluster.local"
    for authority in ("api.test:80", "orders.other", "10.0.0.1"):
        named = replace(inbound(), authority=authority)
        assert named.peer(world_of().plan(named)).server_name == authority.removesuffix(":80")
    assert outbound(caller=STOREFRONT).peer(world.plan(outbound())).principal == b""


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("", ""),
        ("web", "spiffe://td/ns/shop/sa/web"),
        ("other/web", "spiffe://td/ns/other/sa/web"),
        ("SPIFFE://X.y/ns/a/sa/b", "spiffe://x.y/ns/a/sa/b"),
    ],
)
def test_short_forms_of_callers(text, uri):
    assert caller_named(text, "td", "shop") == uri


def test_fields_are_set_and_taken_away_whatever_their_case():
    question = Question(headers=(("X-A", "1"), ("b", "2")))
    assert question.with_header("x-a", "3").headers == (("b", "2"), ("x-a", "3"))
    assert question.with_header("B", None).headers == (("X-A", "1"),)
    assert question.header("x-a") == "1"
    assert question.header("c") is None
