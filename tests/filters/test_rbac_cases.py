"""Every adversarial case about authorization: octets through the codec, a certificate's name through its parser, the
policy as documents, and what would be forwarded is what was judged."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.authorization import policy
from support.http2 import LIBRARIES
from support.rbac_cases import ACCEPTABLE, ROWS, decisions, rules_of

from meshd.core.errors import ProtocolError
from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead
from meshd.core.path_forms import written
from meshd.core.peer import Peer
from meshd.filters.authz import authorization_chain
from meshd.filters.base import Scope
from meshd.filters.peer_authentication import mode_for
from meshd.http.h1 import ClientCodec, ServerCodec
from meshd.http.h2_events import RequestArrived, RequestRefused
from meshd.http.h2_server import ServerSession
from meshd.http.path_rules import PathRules
from meshd.identity.spiffe import InvalidSpiffeId, SpiffeId

SCOPE = Scope("foo", {}, 8080, "mesh.test")


def chain_for(given):
    """The step that enforces a policy of the cases."""
    policies = [policy(*rules, action=action, name=action.lower()) for action, rules in rules_of(given).items()]
    return authorization_chain(policies, SCOPE)


def peer_of(uri):
    """The peer of a certificate; raises InvalidSpiffeId where the handshake would fail, as without one by default."""
    if uri is None:
        assert mode_for((), SCOPE.namespace, {}, SCOPE.root_namespace, SCOPE.port) == "STRICT"
        raise InvalidSpiffeId("no certificate")
    name = SpiffeId.parse(uri)
    return Peer(
        "127.0.0.1",
        principal=str(name).removeprefix("spiffe://").encode(),
        namespace=name.namespace.encode(),
        service_account=name.service_account.encode(),
        trust_domain=name.trust_domain.encode(),
    )


def answers(raw, chain, peer):
    """What happens to each request of a connection: a status, and the target that would go on."""
    codec = ServerCodec()
    codec.receive(raw)
    found = []
    while True:
        try:
            event = codec.next_event()
        except ProtocolError as error:
            return [*found, (error.status, b"")]
        if isinstance(event, RequestHead):
            found.append(judged(event, chain, peer))
        elif event is None:
            if codec.pending_body or codec.must_close or not codec.buffered:
                return found
            codec.next_cycle()


def http2_answers(raw, chain, peer, library):
    """The same over HTTP/2. What the session resets for what it says is as good as a bad request."""
    events = ServerSession(library=library).receive(raw, 0.0)
    found = [judged(each.head, chain, peer) for each in events if isinstance(each, RequestArrived)]
    found += [(each.error.status, b"") for each in events if isinstance(each, RequestRefused)]
    return found or [(400, b"")]


def judged(head, chain, peer):
    """The status of a denial, or 200 and the target that would go on."""
    if fault := PathRules(inbound=True).apply(head):
        return 400, fault.encode()
    exchange = Exchange(head, peer, 0.0, inbound=True)
    replies = [reply for step in chain.on_request if (reply := step(exchange)) is not None]
    return (replies[0].status, b"") if replies else (200, forwarded(head))


def forwarded(head):
    """The request target as written to the app: a reading that was judged."""
    line = ClientCodec().send_request(head, end=True).partition(b"\r\n")[0]
    method, target, _ = line.split(b" ")
    assert method == head.method
    assert written(target.partition(b"?")[0]) in head.readings or target in (head.authority, b"*")
    return target


def by_id(rows):
    return pytest.mark.parametrize("row", rows, ids=[row["id"] for row in rows])


# Istio has no regular expressions; which rows ask for one is held by tests/e2e/test_rbac_cases.py.
KNOWN = [row for row in ROWS if rules_of(row["policy"]) is not None]


@pytest.mark.parametrize("library", LIBRARIES, ids=repr)
@by_id([row for row in KNOWN if "h2_raw_b64" in row])
def test_a_case_over_http2_is_judged_as_labelled(row, library):
    chain, peer = chain_for(row["policy"]), Peer("10.0.0.1")
    ((status, _),) = http2_answers(base64.b64decode(row["h2_raw_b64"]), chain, peer, library)
    assert status in ACCEPTABLE[row["decision"]], row["why"]


@by_id([row for row in KNOWN if "raw_b64" in row])
def test_a_case_is_judged_as_labelled(row):
    chain = chain_for(row["policy"])
    try:
        peer = peer_of(row.get("peer_spiffe_id"))
    except InvalidSpiffeId:
        assert row["decision"] == "handshake_fail_or_deny"
        return
    found = answers(base64.b64decode(row["raw_b64"]), chain, peer)
    for place, label in decisions(row).items():
        after = found[place:]
        if label == "never_forwarded":
            assert all(status != 200 for status, _ in after)
            continue
        if not after and label == "allow_or_close":
            continue
        assert after[0][0] in ACCEPTABLE[label], f"{row['why']}: {found}"
        if row.get("forward_path") and after[0][0] == 200:
            assert after[0][1].decode() in row["forward_path"]


pieces = st.sampled_from(
    ["a", "admin", "/", "//", "/./", "/../", "%61", "%2e", "%2F", "%23", "%", ";x", "..;", "?", "."]
)


@given(st.lists(pieces, max_size=8).map("".join))
def test_the_next_sidecar_judges_the_path_that_was_judged_here(path):
    """What goes on is judged alike again, and goes on as it is."""
    raw = b"GET /%b HTTP/1.1\r\nhost: a.test\r\n\r\n"
    chain = chain_for({"default": "allow", "deny": [{"path_prefix": "/admin"}]})
    ((status, target),) = answers(raw % path.encode(), chain, Peer("10.0.0.1"))
    if status == 200:
        assert not target.startswith(b"/admin")
        assert answers(raw % target[1:], chain, Peer("10.0.0.1")) == [(200, target)]
