import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.identity.spiffe import InvalidSpiffeId, SpiffeId, check_trust_domain

DOMAIN = set(string.ascii_lowercase + string.digits + "._-")
SEGMENT = set(string.ascii_letters + string.digits + "._-")


def reference(text):
    """The rules of the standard, one after the other, as slowly as you like; None when one is broken."""
    if not text.isascii() or len(text) > 2048:
        return None
    scheme, colon, rest = text.partition(":")
    if scheme.lower() != "spiffe" or not colon or not rest.startswith("//"):
        return None
    domain, *segments = rest[2:].split("/")
    domain = domain.lower()
    if not 1 <= len(domain) <= 255 or set(domain) - DOMAIN:
        return None
    if any(not segment or segment in (".", "..") or set(segment) - SEGMENT for segment in segments):
        return None
    return domain, "".join("/" + segment for segment in segments)


def parsed(text):
    try:
        found = SpiffeId.parse(text)
    except InvalidSpiffeId:
        return None
    return found.trust_domain, found.path


PIECES = ["spiffe", "SPIFFE", ":", "/", "//", "spiffe://", "mesh.test", "Mesh.TEST", "a", "ns", "sa", "..", ".", "%61"]
PIECES += [
    ":443",
    "user@",
    "?q=1",
    "#f",
    " ",
    "\0",
    "\r\n",
    "*",
    "é",
    "\u212a",
    "\u0130",
    "[::1]",
    "_",
    "-",
    "\n",
    "\\",
    "~",
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_parse_agrees_with_the_reference_on_near_misses(text):
    assert parsed(text) == reference(text)


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_parse_agrees_with_the_reference_behind_a_good_start(text):
    assert parsed("spiffe://mesh.test/" + text) == reference("spiffe://mesh.test/" + text)


@given(st.text(max_size=40))
def test_parse_agrees_with_the_reference_on_anything(text):
    assert parsed("spiffe://" + text) == reference("spiffe://" + text)


@given(
    st.text(sorted(DOMAIN), min_size=1, max_size=255),
    st.lists(st.text(sorted(SEGMENT), min_size=1).filter(lambda segment: segment.strip(".")), max_size=5),
)
def test_what_is_printed_is_what_is_read(domain, segments):
    spiffe_id = SpiffeId(domain, "".join("/" + segment for segment in segments))
    assert SpiffeId.parse(str(spiffe_id)) == spiffe_id


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin"),
        ("https://mesh.test/x", "does not begin"),
        ("spiffe:mesh.test/x", "does not begin"),
        ("spiffe:///x", "trust domain is empty"),
        ("spiffe://mesh.test:443/x", "no port"),
        ("spiffe://user@mesh.test/x", "no port or user"),
        ("spiffe://\u212aelvin/x", "lower-case letters"),
        (f"spiffe://{'a' * 256}/x", "at most 255"),
        ("spiffe://mesh.test/", "slash at its end"),
        ("spiffe://mesh.test/a//b", "empty path segment"),
        ("spiffe://mesh.test/a/../b", "relative path segment '..'"),
        ("spiffe://mesh.test/%61", "no percent-encoding"),
        ("spiffe://mesh.test/a?b", "no query"),
        ("spiffe://mesh.test/" + "a" * 2030, "at most 2048 octets, this one has 2049"),
    ],
)
def test_the_reason_names_the_rule(text, reason):
    with pytest.raises(InvalidSpiffeId, match=reason):
        SpiffeId.parse(text)


def test_the_longest_id_is_accepted():
    assert len(str(SpiffeId.parse("spiffe://mesh.test/" + "a" * 2029))) == 2048


def test_the_reason_can_not_break_a_log_line():
    with pytest.raises(InvalidSpiffeId) as caught:
        SpiffeId.parse("spiffe://mesh.test/a\r\nX-Evil: \u2028" + "b" * 1000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_the_trust_domain_has_no_case_and_the_path_has():
    assert str(SpiffeId.parse("SPIFFE://Mesh.TEST/ns/A")) == "spiffe://mesh.test/ns/A"
    assert SpiffeId.parse("spiffe://mesh.test/ns/A") != SpiffeId.parse("spiffe://mesh.test/ns/a")


def test_a_workload_is_a_namespace_and_a_service_account():
    spiffe_id = SpiffeId.of_workload("mesh.test", "web", "front")
    assert str(spiffe_id) == "spiffe://mesh.test/ns/web/sa/front"
    assert (spiffe_id.namespace, spiffe_id.service_account) == ("web", "front")


@pytest.mark.parametrize("path", ["", "/x", "/ns/a", "/ns/a/sa", "/ns/a/sa/b/c", "/NS/a/sa/b", "/ns/a/SA/b"])
def test_another_path_has_neither(path):
    spiffe_id = SpiffeId("mesh.test", path)
    assert (spiffe_id.namespace, spiffe_id.service_account) == ("", "")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "é"])
def test_a_workload_with_an_impossible_name_is_refused(name):
    with pytest.raises(InvalidSpiffeId, match="service account"):
        SpiffeId.of_workload("mesh.test", "web", name)
    with pytest.raises(InvalidSpiffeId, match="namespace"):
        SpiffeId.of_workload("mesh.test", name, "front")


def test_a_trust_domain_of_a_document_must_be_lower_case():
    assert check_trust_domain("cluster.local") == "cluster.local"
    with pytest.raises(InvalidSpiffeId, match="lower-case"):
        check_trust_domain("Cluster.local")
