"""A peer is who the handshake says, and nobody when there was none."""

from dataclasses import FrozenInstanceError

import pytest

from meshd.core.peer import NOBODY, Peer


def test_the_spiffe_id_is_the_principal_with_its_scheme():
    assert Peer("10.0.0.1", principal=b"cluster.local/ns/a/sa/b").spiffe_id == "spiffe://cluster.local/ns/a/sa/b"


def test_who_proved_nothing_has_none():
    assert NOBODY.spiffe_id == ""
    assert (NOBODY.principal, NOBODY.namespace, NOBODY.service_account, NOBODY.trust_domain) == (b"", b"", b"", b"")
    assert not NOBODY.resumed


def test_nobody_becomes_somebody_else_later():
    with pytest.raises(FrozenInstanceError):
        NOBODY.principal = b"cluster.local/ns/a/sa/admin"
