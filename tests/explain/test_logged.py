"""A line of the log, read: what it holds is there, and what it does not hold is noted by whoever asks."""

import pytest
from support.logs import log_line
from support.replays import ADMIN, NOBODY, TOKENS, bearing
from support.worlds import STOREFRONT, allow, believing, inbound, mtls, world_of

from meshd.explain.logged import Logged, text_of
from meshd.identity.spiffe import InvalidSpiffeId


def read(world=None, question=None, at=1.0, **change):
    world, question = world or world_of(), question or inbound()
    return Logged(log_line(world, question, at) | change, world.plan(question))


def test_the_request_as_it_was():
    agent = ("user-agent", "curl")
    logged = read(question=inbound("PUT", "/a?q=1", headers=(agent, ("x-k", "1"))), at=2.25)
    head = logged.head
    assert (head.method, head.path, head.query, head.authority) == (b"PUT", b"/a", b"q=1", b"reviews.shop")
    assert head.get(b"user-agent") == b"curl"
    assert (head.get(b"x-k"), head.missed) == (None, {"x-k"})
    assert (logged.at, logged.inbound, logged.exchange.peer.spiffe_id) == (1e9 + 2.25, True, STOREFRONT)


def test_who_calls_is_known_only_by_a_certificate():
    assert read(world_of(mtls("DISABLE")), downstream_peer=STOREFRONT).exchange.peer.principal == b""
    with pytest.raises(InvalidSpiffeId):
        read(downstream_peer="nonsense")


@pytest.mark.parametrize("moment", ["noon", "", None, 7, "9999-99-99T00:00:00Z"])
def test_a_time_that_is_none(moment):
    assert read(start_time=moment).at is None


def test_what_is_known_of_a_token():
    role = allow({"when": [{"key": "request.auth.claims[a][b]", "values": ["c"]}]})
    world = world_of(believing(TOKENS), role)
    logged = read(world, bearing(a={"b": "c"}, aud="shop"))
    assert (logged.token_is_known, logged.exchange.token) == (True, None)
    logged.believe()
    token = logged.exchange.token
    assert (token.issuer, token.subject, token.values("a", "b"), token.values("aud")) == ("i", "alice", ["c"], ["shop"])
    nobody = read(world, NOBODY)
    nobody.believe()
    assert (nobody.token_is_known, nobody.claims, nobody.exchange.token) == (True, None, None)
    assert not read(world_of(), ADMIN).token_is_known
    assert not read(world, bearing(iss="evil")).token_is_known
    assert read(world_of(believing(TOKENS | {"presence": "REQUIRED"})), NOBODY).token_is_known


@pytest.mark.parametrize("claims", ["{", "[]", '{"iss": "i"}', '{"iss": 1, "sub": "a"}', "[" * 9999, 7])
def test_claims_that_are_none(claims):
    logged = read(facts={"token": "i/a", "claims": claims})
    assert (logged.claims, logged.token_is_known) == (None, False)


def test_claims_of_an_odd_shape_are_read_as_far_as_they_go():
    claims = '{"iss": "i", "sub": "a", "[a]": "x", "[a][b]": ["y", 7], "[c][d]": {}, "aud": 3}'
    logged = read(facts={"token": "i/a", "claims": claims})
    logged.believe()
    token = logged.exchange.token
    assert (token.values("a"), token.values("c", "d"), token.values("aud")) == (["x"], [], [])


def test_texts_can_be_written_again():
    assert text_of({"a": "\ud800", "b": 1}, "a").encode()
    assert text_of({"a": "x", "b": 1}, "b") == text_of({}, "c") == ""
