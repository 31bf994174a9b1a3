"""Which names are the sidecar's, in which spelling, and how many of them are remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.spelling import fold
from meshd.http.owned import (
    CLAIM,
    CLAIMS,
    INTERNAL,
    INTERNAL_FIELDS,
    MANAGED,
    MANAGED_FIELDS,
    MAX_REMEMBERED,
    ORDINARY,
    OwnedFields,
)

WRITTEN = ("X-User", "x_payload", "x-auth-*", "*-scope")
OWN = sorted(CLAIMS | MANAGED_FIELDS | INTERNAL_FIELDS | {b"x-envoy-retry-on", b"x-forwarded-port", b"x-user"})
SEPARATORS = "-_.~+"


@st.composite
def spellings(draw, names=tuple(OWN)):
    """A name of ours, each of its hyphens written in some way."""
    name = draw(st.sampled_from(names)).decode()
    return "".join(draw(st.sampled_from(SEPARATORS)) if each == "-" else each for each in name).encode()


@given(spellings())
def test_a_name_of_ours_passes_in_our_spelling_or_in_none(name):
    kind = OwnedFields(WRITTEN)[name]
    assert (kind == CLAIM) is (name != fold(name) or name in CLAIMS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"x-forwarded-client-cert", CLAIM),
        (b"x_forwarded_client_cert", CLAIM),
        (b"x-forwarded_for", CLAIM),
        (b"x-forwarded-for", MANAGED),
        (b"x-request-id", MANAGED),
        (b"x-forwarded-host", INTERNAL),
        (b"x-forwarded-anything", INTERNAL),
        (b"x-envoy-upstream-rq-timeout-ms", INTERNAL),
        (b"forwarded", INTERNAL),
        (b"x_tenant", ORDINARY),
        (b"x_forwarder", ORDINARY),
        (b"transfer_encoding", CLAIM),
        (b"content_length", CLAIM),
        (b"content_type", ORDINARY),
        (b"session_id", ORDINARY),
        (b"x-user", ORDINARY),
        (b"x_user", CLAIM),
        (b"x_payload", ORDINARY),
        (b"x-payload", CLAIM),
        (b"x-auth-name", ORDINARY),
        (b"x_auth_name", CLAIM),
        (b"token-scope", ORDINARY),
        (b"token_scope", CLAIM),
    ],
)
def test_names(name, kind):
    assert OwnedFields(WRITTEN)[name] == kind


@pytest.mark.parametrize("name", [b"x-user", b"x_user", b"x-auth-name", b"forwarded", b"x-envoy-internal", b"my-scope"])
def test_what_policies_say_is_not_believed_of_a_trailer(name):
    owned = OwnedFields(WRITTEN)
    assert not owned.may_trail(name)
    assert owned.may_trail(b"x_checksum")


def test_names_are_remembered_within_a_bound():
    owned = OwnedFields()
    for number in range(2 * MAX_REMEMBERED):
        assert owned[b"x-%d" % number] == ORDINARY
    assert owned[b"y" * 1000] == ORDINARY
    assert len(owned) == MAX_REMEMBERED
    assert owned[b"x_forwarded_for"] == CLAIM
    assert "1024 names known" in repr(owned)


def test_a_pattern_for_every_name_protects_none_beforehand():
    assert OwnedFields(["*"])[b"x_anything"] == ORDINARY
