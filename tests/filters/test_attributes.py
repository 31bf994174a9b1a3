"""What checks look at is what the peer proved and the request said; what is not there is empty."""

import pytest
from support.authorization import STRANGER, peer
from support.requests import exchange_of

from meshd.core.peer import NOBODY
from meshd.core.token import Token
from meshd.filters import attributes

WEB = peer("a", "web", "td", "10.0.0.1", local_address="10.0.0.2", server_name="x.test")
SEEN = {
    "look_authority": b"a.test",
    "look_method": b"POST",
    "look_principal": b"td/ns/a/sa/web",
    "look_namespace": b"a",
    "look_account": b"a/web",
    "look_trust_domain": b"td",
    "look_address": b"10.0.0.1",
    "look_local_address": b"10.0.0.2",
    "look_server_name": b"x.test",
    "look_nothing": b"",
}


@pytest.mark.parametrize("name", SEEN)
def test_what_is_there(name):
    assert getattr(attributes, name)(exchange_of(method="POST", peer=WEB)) == SEEN[name]


@pytest.mark.parametrize("name", sorted(SEEN.keys() - {"look_authority", "look_method"}))
def test_what_is_not_there_is_empty(name):
    assert getattr(attributes, name)(exchange_of(peer=NOBODY)) == b""


def test_an_address_is_no_identity():
    stranger = exchange_of(peer=STRANGER)
    assert attributes.look_address(stranger) == b"192.0.2.1"
    assert attributes.look_account(stranger) == attributes.look_principal(stranger) == b""


def test_claims_and_subject_of_a_token():
    exchange = exchange_of()
    assert attributes.look_claim(exchange, ("aud",)) == attributes.look_subjects(exchange) == []
    exchange.token = Token("https://i.test", "a/b", {"aud": ["x", "y"]}, b"")
    assert attributes.look_claim(exchange, ("aud",)) == [b"x", b"y"]
    assert attributes.look_subjects(exchange) == [b"https://i.test\0a/b"]
