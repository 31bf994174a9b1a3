import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.svid import NOW, intermediate, root

from meshd.identity.ca_index import KEEP_EXPIRED, Index, IndexCorrupt, Issued, Role, Root

TOP = root()
CA = Root("ca", Role.ISSUING, TOP.certificate, intermediate(TOP).certificate, "list")
NEXT = Root("ca-2", Role.NEXT, root().certificate)
LEAF = Issued(0xABC, "spiffe://mesh.test/x", ("x.test",), NOW, NOW + 60, 60.0, "ca", "../x")
INDEX = Index("mesh.test", (CA, NEXT), (LEAF,), 3)


def test_an_index_survives_being_written_and_read():
    assert Index.from_json(INDEX.to_json()) == INDEX


@given(
    st.lists(
        st.builds(
            Issued,
            serial=st.integers(1, 2**159),
            spiffe_id=st.text(),
            dns=st.lists(st.text(), max_size=3).map(tuple),
            not_before=st.floats(0, 4e9),
            not_after=st.floats(0, 4e9),
            ttl=st.floats(1, 4e9),
            root=st.just("ca"),
            folder=st.text(),
            revoked=st.floats(0, 4e9),
        ),
        max_size=4,
    )
)
def test_every_leaf_survives(leaves):
    index = replace(INDEX, issued=tuple(leaves))
    assert Index.from_json(index.to_json()) == index


def without(field, row="issued"):
    document = json.loads(INDEX.to_json())
    del document[row][0][field]
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not an index of version 1"),
        (INDEX.to_json().replace('"version": 1', '"version": 2'), "not an index of version 1"),
        (INDEX.to_json().replace('"role": "issuing"', '"role": "next"'), "exactly one root"),
        (INDEX.to_json().replace('"role": "next"', '"role": "issuing"'), "exactly one root"),
        (INDEX.to_json().replace('"role": "next"', '"role": "boss"'), "boss"),
        (INDEX.to_json().replace("BEGIN CERTIFICATE", "BEGIN SOMETHING"), "root 'ca'"),
        (INDEX.to_json().replace('"serial": "abc"', '"serial": "xyz"'), "not hexadecimal"),
        (without("folder"), "issued leaf lacks a field"),
        (without("name", "roots"), "a root lacks a field"),
    ],
)
def test_a_broken_index_is_refused_with_its_reason(text, reason):
    with pytest.raises(IndexCorrupt, match=reason):
        Index.from_json(text)


def test_roots_are_found_by_their_role_and_change_it():
    assert INDEX.issuing == CA
    assert INDEX.root(Role.NEXT) == NEXT
    assert INDEX.root(Role.PREVIOUS) is None
    changed = INDEX.with_roots(**{"ca": Role.PREVIOUS, "ca-2": Role.ISSUING})
    assert changed.issuing.name == "ca-2"
    assert changed.root(Role.PREVIOUS).name == "ca"
    assert [found.name for found in changed.with_roots(ca=None).roots] == ["ca-2"]


def test_a_leaf_is_live_until_it_expires_or_is_revoked():
    assert LEAF.is_live(NOW + 60)
    assert not LEAF.is_live(NOW + 61)
    assert not replace(LEAF, revoked=NOW).is_live(NOW)


def test_leaves_are_found_and_forgotten():
    assert INDEX.find(0xABC) == LEAF
    assert INDEX.find(1) is None
    assert INDEX.without_old(LEAF.not_after + KEEP_EXPIRED).issued == (LEAF,)
    assert INDEX.without_old(LEAF.not_after + KEEP_EXPIRED + 1).issued == ()
