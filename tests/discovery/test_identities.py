"""Whom endpoints must prove to be where no document says it."""

import pytest

from meshd.discovery.identities import expected_of, identified
from meshd.discovery.known_port import KnownPort, Place


def known(kind):
    return KnownPort(kind, "shop", "web", 80, "http", "http", ("web.shop",), only_port=True, places=())


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        ("Service", None, "spiffe://td/ns/shop/sa/web"),
        ("ServiceEntry", None, "spiffe://td/ns/shop/sa/*"),
        ("ServiceEntry", "serviceAccount", "spiffe://td/ns/shop/sa/web"),
        ("Service", "namespace", "spiffe://td/ns/shop/sa/*"),
        ("Service", "trustDomain", "spiffe://td/*"),
    ],
)
def test_the_convention_and_the_words_for_more_and_less(kind, said, expected):
    assert expected_of(known(kind), "td", said) == {expected}


def test_what_a_document_says_stands_and_who_speaks_no_tls_is_asked_for_nothing():
    own = frozenset({"spiffe://td/ns/a/sa/b"})
    places = Place("1", 1, mutual=True, identities=own), Place("2", 1, mutual=True), Place("3", 1)
    expected = frozenset({"spiffe://td/ns/shop/sa/web"})
    assert [place.identities for place in identified(places, expected)] == [own, expected, frozenset()]
