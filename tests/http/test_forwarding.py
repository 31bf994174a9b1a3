"""What goes on to the next hop, and what is not believed."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.head import RequestHead
from meshd.core.peer import Peer
from meshd.core.spelling import fold
from meshd.http.forwarding import MAX_LOOPS, Forwarding, Hop, client_cert, new_request_id, prepare
from meshd.http.owned import OwnedFields

STRANGER = Peer("203.0.113.9")
MESH = Peer("10.0.0.7", principal=b"td/ns/a/sa/web", fingerprint="ab" * 32, tls="TLSv1.3")
APP = Peer("127.0.0.1")
IN = Forwarding(inbound=True, pseudonym=b"orders", uri=b"spiffe://td/ns/a/sa/orders")
OUT = Forwarding(inbound=False, pseudonym=b"orders-out")
UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
PARENT = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
CLAIMS = [b"x-forwarded-client-cert", b"l5d-client-id", b"x-meshd-peer"]
INTERNAL = [b"x-envoy-internal", b"x-envoy-peer-metadata", b"x-real-ip"]
OURS = [b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id", b"traceparent"]


def passed_on(*fields, peer=STRANGER, forwarding=IN, protocol=b"http/1.1"):
    """The head after this hop, and its request id."""
    head = RequestHead(b"GET", b"/", b"a.test", list(fields))
    head.protocol = protocol
    head.get(b"via")  # an index made before the edit is not believed after it
    request_id = prepare(head, Hop(peer, forwarding), PARENT)
    return head, request_id


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*CLAIMS, *INTERNAL, *OURS, b"accept", b"cookie"]), st.sampled_from([b"1", b"a b", b""])
        ),
        max_size=8,
    ),
    st.sampled_from([(STRANGER, IN), (MESH, IN), (APP, OUT)]),
)
def test_laws_of_every_hop(fields, between):
    peer, forwarding = between
    head, request_id = passed_on(*fields, peer=peer, forwarding=forwarding)
    names = [name for name, _ in head.headers]
    for name in OURS:
        assert names.count(name) == (name != b"x-forwarded-for" or bool(Hop(peer, forwarding).address) or name in names)
    assert head.get(b"traceparent") == PARENT
    assert head.get(b"x-request-id") == request_id
    assert names.count(b"x-forwarded-client-cert") == (peer is MESH)
    assert not {b"l5d-client-id", b"x-meshd-peer"} & set(names)
    assert head.get(b"x-forwarded-proto") in (b"http", b"https")
    others = [field for field in fields if field[0] in (b"accept", b"cookie")]
    assert [field for field in head.headers if field in others] == others
    kept = [field for field in fields if field[0] in INTERNAL] if peer is not STRANGER else []
    assert [field for field in head.headers if field[0] in INTERNAL] == kept


def test_a_field_that_was_not_met_before_keeps_its_place():
    fresh = replace(IN, owned=OwnedFields())
    passed_on((b"accept", b"1"), forwarding=fresh)
    fields = [(b"x-new", b"1"), (b"accept", b"2"), (b"x-newer", b"3"), (b"accept", b"4")]
    assert passed_on(*fields, forwarding=fresh)[0].headers[:4] == fields


def test_nothing_claimed_is_known_of_a_stranger():
    head, _ = passed_on(*((name, b"forged") for name in CLAIMS + INTERNAL))
    assert b"forged" not in b" ".join(value for _, value in head.headers)


def test_the_certificate_is_told_by_the_handshake_alone():
    head, _ = passed_on((b"x-forwarded-client-cert", b"URI=spiffe://td/ns/a/sa/admin"), peer=MESH)
    assert head.get(b"x-forwarded-client-cert") == client_cert(IN.uri, MESH)
    assert client_cert(IN.uri, MESH) == (
        b"By=spiffe://td/ns/a/sa/orders;Hash=" + b"ab" * 32 + b";URI=spiffe://td/ns/a/sa/web"
    )


def test_the_way_out_tells_no_certificate():
    assert passed_on((b"x-forwarded-client-cert", b"x"), peer=APP, forwarding=OUT)[0].get(CLAIMS[0]) is None


def test_the_nearest_peer_is_added_to_x_forwarded_for():
    assert passed_on()[0].get(b"x-forwarded-for") == b"203.0.113.9"
    head, _ = passed_on((b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2"))
    assert head.get(b"x-forwarded-for") == b"1.1.1.1,2.2.2.2, 203.0.113.9"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_our_own_app_is_no_hop(address):
    assert passed_on(peer=Peer(address), forwarding=OUT)[0].get(b"x-forwarded-for") is None
    head, _ = passed_on((b"x-forwarded-for", b"1.1.1.1"), peer=Peer(address), forwarding=OUT)
    assert head.get(b"x-forwarded-for") == b"1.1.1.1"


@pytest.mark.parametrize("protocol", [b"http/1.0", b"http/1.1", b"h2"])
def test_via_names_protocol_and_pseudonym(protocol):
    own = {b"http/1.0": b"1.0", b"http/1.1": b"1.1", b"h2": b"2"}[protocol] + b" orders"
    assert passed_on(protocol=protocol)[0].get(b"via") == own
    assert passed_on((b"via", b"1.1 edge"), protocol=protocol)[0].get(b"via") == b"1.1 edge, " + own


@given(
    st.integers(0, 5),
    st.lists(st.sampled_from([b"1.1 edge", b"1.1 orders-out", b"1.1 my-orders", b"2 ordersx"]), max_size=3),
    st.booleans(),
)
def test_a_request_runs_in_a_loop_when_it_came_by_too_often(times, others, apart):
    members = [*others, *[b"1.1 orders"] * times]
    fields = [(b"via", each) for each in members] if apart else [(b"via", b", ".join(members))]
    assert (passed_on(*fields)[1] == b"") is (times > MAX_LOOPS)


def test_a_loop_ends_by_itself():
    fields, rounds = [], 0
    while True:
        head, request_id = passed_on(*fields)
        if not request_id:
            break
        fields, rounds = head.headers, rounds + 1
    assert rounds == MAX_LOOPS + 1


@pytest.mark.parametrize("peer", [MESH, APP])
def test_a_request_id_goes_with_the_request_within_the_mesh(peer):
    forwarding = OUT if peer is APP else IN
    assert passed_on((b"x-request-id", b"abc-1"), peer=peer, forwarding=forwarding)[1] == b"abc-1"


@pytest.mark.parametrize("given_id", [b"", b"a b", b"a,b", b"a" * 129, b'"', b"\xff", b"a\n"])
def test_a_request_id_that_breaks_logs_is_replaced(given_id):
    assert UUID.fullmatch(passed_on((b"x-request-id", given_id), peer=MESH)[1])


def test_a_stranger_names_no_request():
    assert UUID.fullmatch(passed_on((b"x-request-id", b"abc-1"))[1])


def test_request_ids_are_uuids_of_version_4_and_differ():
    made = {new_request_id() for _ in range(500)}
    assert len(made) == 500
    assert all(UUID.fullmatch(each) for each in made)


@pytest.mark.parametrize(
    ("peer", "claimed", "wanted"),
    [
        (STRANGER, b"https", b"http"),
        (MESH, b"http", b"http"),
        (MESH, b"wss", b"wss"),
        (MESH, b"gopher", b"https"),
        (MESH, None, b"https"),
        (STRANGER, None, b"http"),
    ],
)
def test_the_scheme_is_believed_of_the_mesh_only(peer, claimed, wanted):
    fields = [(b"x-forwarded-proto", claimed)] if claimed else []
    assert passed_on(*fields, peer=peer)[0].get(b"x-forwarded-proto") == wanted


def test_a_hop_tells_who_is_there():
    assert repr(Hop(STRANGER, IN)) == "<Hop orders from 203.0.113.9>"
    assert repr(Hop(APP, OUT)) == "<Hop orders-out from our own app>"


@st.composite
def spelled(draw):
    """A field that claims to be one of ours, in some spelling."""
    name = draw(st.sampled_from([*CLAIMS, *INTERNAL, *OURS, b"x-forwarded-host", b"forwarded", b"x-user"])).decode()
    written = "".join(draw(st.sampled_from("-_.")) if each == "-" else each for each in name)
    return written.encode(), b"forged"


@given(
    st.lists(spelled() | st.just((b"x_tenant", b"seven")), max_size=8),
    st.sampled_from([(STRANGER, IN), (MESH, IN), (APP, OUT)]),
)
def test_an_app_that_folds_names_sees_no_second_spelling_of_ours(fields, between):
    """Underscores went past what we take out, and a CGI or WSGI app took them for the claim that we verified."""
    peer, forwarding = between
    forwarding = replace(forwarding, owned=OwnedFields(["x-user"]))
    head, _ = passed_on(*fields, peer=peer, forwarding=forwarding)
    protected = {fold(name) for name in (*CLAIMS, *INTERNAL, *OURS, b"x-forwarded-host", b"forwarded", b"x-user")}
    for name, value in head.headers:
        assert fold(name) not in protected or name == fold(name)
        if name in (b"x-forwarded-client-cert", b"x-forwarded-proto", b"x-request-id", b"traceparent"):
            assert value != b"forged" or (name == b"x-request-id" and peer is not STRANGER)
    if peer is STRANGER:
        believed = {b"x-forwarded-for", b"via", b"x-user"}  # appended to, or for a policy to take out
        assert not [name for name, value in head.headers if value == b"forged" and name not in believed]
    assert head.headers.count((b"x_tenant", b"seven")) == fields.count((b"x_tenant", b"seven"))
