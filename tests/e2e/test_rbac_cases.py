"""Every adversarial case about authorization through a running sidecar: its policy loaded, its octets sent under its
identity, and what reaches the app is what was judged.

One sidecar gets one policy after the other, as an operator would change them, and each row's connection is made under
the policy that is then served. Whoever has no certificate is refused by the strict listener and denied by the
permissive one.
"""

import base64
import contextlib
import json
import ssl

import pytest
from support.h2_raw import H2RawClient
from support.mtls_rows import Maker
from support.origin import Origin
from support.processes import until
from support.rbac_cases import ACCEPTABLE, ROWS, decisions, rules_of
from support.wire import RawClient

from meshd.http.h2_events import Code

LABELS = {"app": "judge"}
# Policies by a regular expression, for which an AuthorizationPolicy has no word.
BY_EXPRESSION = {"rbac-hdr-obs1", "rbac-hdr-obs3", "rbac-hdr-obs4", "rbac-re-redos"}


class Judge:
    """The sidecar, its app, and the policy that is in force."""

    def __init__(self, mesh, stack) -> None:
        self.mesh = mesh
        self.origins = [stack.enter_context(Origin()) for _ in range(2)]
        self._maker = Maker(mesh.folder / "rows")
        self._contexts = {row.get("peer_spiffe_id"): None for row in ROWS}
        folder = mesh.identity("judge")
        for number, uri in enumerate(filter(None, self._contexts)):
            self._contexts[uri] = self._identity(f"identity-{number}", uri, folder / "ca.crt")
        (folder / "crl.pem").unlink()
        mesh.policy("mode", json.dumps(_mode(self.origins[1].port)))
        inbound = [{"listen": "127.0.0.1:0", "app": origin.address} for origin in self.origins]
        self.sidecar = mesh.run("judge", inbound=inbound)

    def _identity(self, name, uri, roots) -> ssl.SSLContext:
        row = {"id": name, "side": "client", "leaf": {"uris": [uri]}, "chain": {}}
        material = self._maker.make(row)
        with roots.open("ab") as file:
            file.write(material.roots)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(roots)
        return material.show(context)

    def enforce(self, rules) -> None:
        """Put policies in force, and wait until they are."""
        served = self.sidecar.log.count("serves generation")
        documents = [_policy(action, given) for action, given in rules.items()]
        self.mesh.policy("rules", "\n---\n".join(map(json.dumps, documents)))
        until(lambda: self.sidecar.log.count("serves generation") > served, 10, "the new policy")

    def ask(self, row, listener):
        """The answers on the row's connection, and what reached the app."""
        origin = self.origins[listener]
        origin.take()
        context = self._contexts[row.get("peer_spiffe_id")]
        if "h2_raw_b64" in row:
            answers = self._ask_http2(base64.b64decode(row["h2_raw_b64"]), context, listener)
            return answers, [each for each in origin.take() if each.complete]
        raw = base64.b64decode(row["raw_b64"])
        wanted = raw.count(b"HTTP/1.1\r\n")
        methods = [part.split(b" ")[0].decode("latin-1") for part in raw.split(b"\r\n\r\n") if part]
        answers = []
        with contextlib.suppress(OSError):
            address = self.sidecar.address(f"inbound-{listener}")
            with RawClient(address, context.wrap_socket if context else None) as client:
                client.send(raw)
                client.read_until(lambda: client.closed or len(client.responses(methods)) >= wanted, 5)
                answers = [_meaning(status, fields) for status, fields, _ in client.responses(methods)]
        return answers, [each for each in origin.take() if each.complete]

    def _ask_http2(self, raw, context, listener):
        """The answer on the first stream; a stream that is reset for what it says is a bad request."""
        address = self.sidecar.address(f"inbound-{listener}")
        with contextlib.suppress(OSError), H2RawClient(address, context.wrap_socket if context else None) as client:
            client.send(raw)
            client.read_until(lambda: client.is_over(1), 5)
            if 1 in client.answers():
                return [client.answers()[1][0]]
            return [400] if client.reset_code(1) == Code.PROTOCOL_ERROR else []
        return []


def _meaning(status, fields) -> int:
    """A denial in the words of gRPC is a denial: PERMISSION_DENIED."""
    return 403 if status == 200 and fields.get("grpc-status") == "7" else status


def _mode(port):
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "mode", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "mtls": {"mode": "STRICT"},
            "portLevelMtls": {str(port): {"mode": "PERMISSIVE"}},
        },
    }


def _policy(action, rules):
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": action.lower(), "namespace": "default"},
        "spec": {"selector": {"matchLabels": LABELS}, "action": action, "rules": rules},
    }


@pytest.fixture(scope="module")
def judge(shared_mesh):
    with contextlib.ExitStack() as stack:
        yield Judge(shared_mesh, stack)


def by_policy():
    groups: dict[str, list[dict]] = {}
    for row in ROWS:
        if rules_of(row["policy"]) is not None:
            groups.setdefault(json.dumps(row["policy"], sort_keys=True), []).append(row)
    return groups


GROUPS = by_policy()


@pytest.mark.slow
@pytest.mark.parametrize("policy", GROUPS)
def test_the_cases_of_a_policy(judge, policy):
    judge.enforce(rules_of(json.loads(policy)))
    wrong = [f"{row['id']}: {why}: {row['why']}" for row in GROUPS[policy] if (why := _wrong(judge, row))]
    assert not wrong, "\n".join(wrong)


def _wrong(judge, row) -> str:
    """What is wrong with how a row turned out; empty when nothing is."""
    answers, arrived = judge.ask(row, 0)
    labels = decisions(row)
    if labels == {0: "handshake_fail_or_deny"}:
        if 200 in answers or arrived:
            return f"{answers}, {len(arrived)} at the app"
        if row.get("peer_spiffe_id") is not None or row["policy"]["default"] == "allow":
            return ""
        answers, arrived = judge.ask(row, 1)  # in permissive mode it gets as far as the policy, without a name
    allowed = answers.count(200)
    if len(arrived) != allowed:
        return f"{answers}, but {len(arrived)} arrived: {[each.target for each in arrived]}"
    for place, label in labels.items():
        if why := _differs(row, label, answers[place:], arrived[place:]):
            return why
    return ""


def _differs(row, label, answers, arrived) -> str:
    if label == "never_forwarded":
        return f"{answers}" if 200 in answers or arrived else ""
    if not answers:
        # Closed without a word: an end of what was asked too late, or a refusal where refusing is right.
        return "" if label == "allow_or_close" else "no answer"
    if answers[0] not in ACCEPTABLE[label]:
        return f"{answers[0]}, wanted {label}"
    wanted = row.get("forward_path")
    if answers[0] == 200 and wanted and arrived[0].target not in wanted:
        return f"forwarded {arrived[0].target}, judged {wanted}"
    return ""


def test_every_row_is_judged_or_named():
    judged = {row["id"] for rows in GROUPS.values() for row in rows}
    assert judged | BY_EXPRESSION == {row["id"] for row in ROWS}
    assert not judged & BY_EXPRESSION
    assert len(judged) > 170
