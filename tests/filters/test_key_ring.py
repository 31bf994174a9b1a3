"""The keys of issuers as the data path has them."""

import json

from support.tokens import key_set, public

from meshd.filters.key_ring import KeyRing


def test_a_set_that_says_the_same_stays_the_same_object():
    ring = KeyRing({"a": key_set(), "b": key_set()})
    before = ring.keys("a")
    assert len(before) == 1
    ring.update({"a": key_set(), "b": key_set(public("EdDSA"), public("ES256"))})
    assert ring.keys("a") is before
    assert len(ring.keys("b")) == 2
    assert repr(ring) == "<KeyRing 3 keys of 2 issuers>"


def test_what_is_not_there_has_no_keys():
    ring = KeyRing({"a": key_set(), "none": json.dumps({"keys": []}), "bad": "no set"})
    assert [ring.keys(uri) for uri in ("other", "none", "bad")] == [(), (), ()]
    ring.update({})
    assert ring.keys("a") == ()


def test_what_is_wanted_is_told_once():
    ring = KeyRing()
    for uri in ("b", "a", "b"):
        ring.want(uri)
    assert ring.take_wanted() == ["a", "b"]
    assert ring.take_wanted() == []
