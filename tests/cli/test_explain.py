"""`meshd explain`: hypothetical requests, and those that a running sidecar remembers."""

import json
import threading

import pytest
import trio
from support.admin import FakeController
from support.exchanges import make_denied, make_record
from support.worlds import DOOR, allow, custom, route, service

from meshd.admin.server import AdminServer, listen_admin
from meshd.cli.main import main

PROXY = """\
apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: reviews, namespace: shop, labels: {app: reviews}}
spec:
  identity: {trustDomain: td, certificates: certs}
  inbound: [{listen: "127.0.0.1:15006", app: "127.0.0.1:8080"}]
  outbound: [{listen: "127.0.0.1:15001"}]
  policies: [policies]
"""
CANARY = {"matches": [{"headers": [{"name": "x-canary", "value": "1"}]}], "backendRefs": [{"name": "v2", "port": 80}]}
DOCUMENTS = [
    *map(service, ("web", "v1", "v2")),
    allow({"to": [{"operation": {"methods": ["GET"]}}]}),
    route({"backendRefs": [{"name": "v1", "port": 80}]}, CANARY),
]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text("\n---\n".join(DOCUMENTS))
    path = tmp_path / "proxy.yaml"
    path.write_text(PROXY)
    return path


def explain(file, *words):
    return main(["explain", "-f", str(file), *words])


@pytest.fixture
def admin():
    """An admin API on a socket of this machine, and the controller behind it."""
    controller = FakeController()
    sock = listen_admin("127.0.0.1", 0)
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    ready, stop = threading.Event(), []

    async def serve():
        with trio.CancelScope() as scope:
            stop.append((trio.lowlevel.current_trio_token(), scope))
            ready.set()
            await AdminServer(controller.api).serve(sock)

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    ready.wait(10)
    yield controller, address
    token, scope = stop[0]
    token.run_sync_soon(scope.cancel)
    thread.join(10)


@pytest.fixture
def guarded(file):
    """The same, with an authorizer outside that is asked about PUT."""
    door = json.dumps([DOOR])
    file.write_text(file.read_text() + f"  extensionProviders: {door}\n")
    puts = {"to": [{"operation": {"methods": ["PUT"]}}]}
    documents = [service("web"), custom(puts), allow({})]
    (file.parent / "policies" / "all.yaml").write_text("\n---\n".join(documents))
    return file


def test_each_outcome_of_an_authorizer_is_shown(guarded, capsys):
    assert explain(guarded, "--from", "storefront", "--method", "PUT") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  forwarded as PUT reviews.shop / by app:127.0.0.1:8080, if door agrees"
    at = lines.index("Authorizers outside are asked, and their answers are not known here")
    denied = "{rbac_access_denied_matched_policy[ns[shop]-policy[c]-rule[0]]}"
    assert [line.strip() for line in lines[at + 1 : at + 4]] == [
        "forwarded as PUT reviews.shop / by app:127.0.0.1:8080, if door agrees",
        f"denied: ext_authz_denied{denied}, if door refuses",
        f"denied with 403: ext_authz_error{denied}, if door does not answer",
    ]


@pytest.mark.parametrize(("said", "code"), [("allow", 0), ("deny", 1), ("fail", 1)])
def test_what_an_authorizer_says_may_be_given(guarded, capsys, said, code):
    assert explain(guarded, "--from", "storefront", "--method", "PUT", "--authorizer", said) == code
    assert "Authorizers outside are asked" not in capsys.readouterr().out
    assert explain(guarded, "--from", "storefront", "--authorizer", said) == 0


def test_what_goes_through(file, capsys):
    assert explain(file, "--from", "storefront", "--path", "/reviews/7") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "GET /reviews/7 to reviews.shop from spiffe://td/ns/shop/sa/storefront  (inbound-0, mutual TLS STRICT)"
    )
    assert lines[1] == "  forwarded as GET reviews.shop /reviews/7 by app:127.0.0.1:8080"
    assert lines[4].split() == [
        *("decides", "ALLOW", "shop/p", "rule", "0", "every", "condition", "holds"),
        f"{file.parent}/policies/all.yaml:7",
    ]


def test_what_does_not_and_what_would_change_that(file, capsys):
    assert explain(file, "--from", "storefront", "--method", "PUT") == 1
    out = capsys.readouterr().out
    assert '\n  no  ALLOW  shop/p rule 0  methods: ["GET"], saw PUT  ' in out
    assert "\n  request  method GET: forwarded as GET reviews.shop / by app:127.0.0.1:8080\n" in out
    assert '\n  policy   add "PUT" to spec.rules[0].to[0].operation.methods of AuthorizationPolicy shop/p (' in out
    assert "\033" not in out


def test_a_stranger_is_refused(file, capsys):
    assert explain(file, "--inbound") == 1
    out = capsys.readouterr().out
    assert "refused: PeerAuthentication is STRICT" in out
    assert "Authorization" not in out.splitlines()


def test_routes_and_splits(file, capsys):
    assert explain(file, "--to", "web", "-H", "X-Canary: 1") == 0
    out = capsys.readouterr().out
    assert "  takes it  HTTPRoute/shop/r/1  " in out
    assert "a more specific match took it" in out
    assert "  shop/v2:80  100 %" in out
    assert "without header X-Canary: forwarded as GET web / by HTTPRoute/shop/r/0" in out


def test_a_name_that_nobody_knows(file, capsys):
    assert explain(file, "--outbound", "--to", "wep") == 1
    assert "nobody knows wep; did you mean 'web'?" in capsys.readouterr().out


def test_outbound_the_caller_is_the_app(file, capsys):
    assert explain(file, "--outbound", "--to", "web", "--from", "other/somebody") == 0
    assert "--from is not looked at" in capsys.readouterr().out


def test_what_chance_decides(file, tmp_path, capsys):
    (tmp_path / "policies" / "fault.yaml").write_text(
        "apiVersion: meshd.dev/v1alpha1\nkind: FaultPolicy\nmetadata: {name: f, namespace: shop}\n"
        "spec: {targetRefs: [{name: web}], rules: [{abort: {status: 503, percentage: 5}}]}\n"
    )
    assert explain(file, "--to", "web") == 0
    assert "\n  below 5 of 100    answered with 503 (fault_filter_abort)\n" in capsys.readouterr().out


def test_as_json(file, capsys):
    assert explain(file, "--to", "web", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["request"]["direction"], told["outcome"]["route"]) == ("outbound", "HTTPRoute/shop/r/0")


def test_other_policies_than_the_document_names(file, tmp_path, capsys):
    (tmp_path / "new.yaml").write_text(allow({"to": [{"operation": {"methods": ["PUT"]}}]}))
    words = ["--from", "a", "--method", "PUT", "--policies", str(tmp_path / "new.yaml")]
    assert explain(file, *words) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-H", "x"], "expected 'name: value'"),
        (["--method", "G T"], "method: got 'G T'"),
        (["--from", "spiffe://"], "the trust domain is empty"),
        (["--listener", "inbound-7", "--inbound"], "expected one of inbound-0"),
    ],
)
def test_nonsense(file, capsys, words, told):
    assert explain(file, *words) == 2
    assert told in capsys.readouterr().err


def test_no_sidecar_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "--to", "web"]) == 2
    assert "meshd: error: name the Proxy document with -f" in capsys.readouterr().err


def test_documents_that_do_not_load(file, capsys):
    (file.parent / "policies" / "bad.yaml").write_text("a: [")
    assert explain(file) == 2
    assert "bad.yaml:2:1: a[0]: not YAML" in capsys.readouterr().err


# -- what a running sidecar remembers ---------------------------------------------------------------------------------


def test_the_last_denied_request(admin, capsys):
    controller, address = admin
    controller.recent.add([make_record(), make_record(make_denied())])
    assert main(["explain", "--last-denied", "--admin", address]) == 1
    out = capsys.readouterr().out
    assert " POST orders.default:80/orders/17" in out.splitlines()[0]
    assert 'nearest     default/orders rule 1: methods: ["GET"], saw POST' in out


def test_with_the_documents_it_says_what_they_would_do_now(admin, file, capsys):
    controller, address = admin
    controller.recent.add([make_record(make_denied())])
    assert explain(file, "--last-denied", "--admin", address, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["records"][0]["verdict"]["nearest"] == "default/orders rule 1"
    assert told["now"]["outcome"]["details"].endswith('nearest shop/p rule 0: methods: ["GET"], saw POST')


@pytest.mark.parametrize("by", ["--request-id", "--trace-id"])
def test_one_request_and_its_attempts(admin, capsys, by):
    controller, address = admin
    record = make_record()
    controller.recent.add([record])
    wanted = record.request_id if by == "--request-id" else f"{record.trace.trace_id:032x}"
    assert main(["explain", by, wanted, "--admin", address]) == 0
    out = capsys.readouterr().out
    assert "verdict     allowed by default/orders rule 0" in out
    assert "attempt 1   10.1.0.1:8080: 200, 2.0 ms" in out


def test_what_it_does_not_remember(admin, capsys):
    assert main(["explain", "--last-denied", "--admin", admin[1]]) == 2
    assert "remembers no denied request" in capsys.readouterr().err
    assert main(["explain", "--request-id", "x", "--admin", admin[1]]) == 2
    assert "remembers no such request" in capsys.readouterr().err
