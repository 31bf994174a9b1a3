"""`meshd check`: what it says, and its exit codes."""

import argparse
import json

import pytest
from support.ca import MeshCA
from support.documents import text_of

from meshd.cli.check import add_parser, check, report
from meshd.config.errors import Problem
from meshd.identity.credentials import load_credentials

SERVICE = text_of("Service", "v1", "ports: [{port: 80}]")
OUTBOUND = "outbound: [{listen: '127.0.0.1:0'}]"


def run(*words):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["check", *map(str, words)])
    return args.run(args)


def proxy(folder, identity="identity: {certificates: certs, serviceAccount: orders}"):
    file = folder / "proxy.yaml"
    file.write_text(
        text_of("Proxy", "meshd.dev/v1alpha1", f"{identity}\n{OUTBOUND}").replace("namespace: ns", "namespace: default")
    )
    return file


@pytest.fixture
def mesh(tmp_path):
    mesh = MeshCA(tmp_path / "mesh")
    mesh.issue("orders", folder=tmp_path / "certs")
    return mesh


def test_nothing_named_is_wrong_usage(capsys):
    assert run() == 2
    assert "name a bootstrap" in capsys.readouterr().err


def test_policies_alone(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(SERVICE)
    assert run(tmp_path) == 0
    assert capsys.readouterr().out == "ok: 1 document, 0 errors, 0 warnings\n"


def test_errors_come_first_and_fail(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Sevice\n")
    assert run(tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        f"error: {tmp_path / 'a.yaml'}:5:7: Sevice kind: got 'Sevice', expected a known kind; did you mean"
    )
    assert lines[1].startswith("warning: ")
    assert lines[2] == "not usable: 0 documents, 1 error, 1 warning"


def test_json_is_one_document(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Sevice\n")
    assert run("--json", tmp_path) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["warnings"]) == (False, [])
    assert (told["errors"][0]["line"], told["errors"][0]["rule"]) == (2, "value")


def test_a_bootstrap_with_its_certificates_and_policies(tmp_path, mesh, capsys):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/a.yaml").write_text(SERVICE)
    assert run("-f", proxy(tmp_path)) == 0, capsys.readouterr().out
    assert "2 documents" in capsys.readouterr().out


def test_certificates_that_do_not_load(tmp_path, capsys):
    assert run("-f", proxy(tmp_path)) == 1
    assert "spec.identity.certificates: got 'certs', not usable: " in capsys.readouterr().out


def test_certificates_of_somebody_else(tmp_path, mesh, capsys):
    file = proxy(tmp_path, "identity: {certificates: certs, serviceAccount: reviews}")
    _, [problem] = check(file, [], mesh.now)
    assert (problem.severity, problem.line) == ("error", 5)
    assert "for spiffe://cluster.local/ns/default/sa/reviews; this one is for" in problem.expected


def test_expired_certificates(tmp_path, mesh):
    count, problems = check(proxy(tmp_path), [], mesh.now + 10 * 365 * 86400)
    assert count == 1
    assert [problem.field for problem in problems] == ["spec.identity.certificates"]


def test_certificates_that_are_nearly_over(tmp_path, mesh):
    file = proxy(tmp_path)
    found = load_credentials(tmp_path / "certs", "cluster.local", mesh.now)
    assert check(file, [], found.not_after - 0.11 * (found.not_after - found.not_before))[1] == []
    [problem] = check(file, [], found.not_after - 3600)[1]
    assert (problem.severity, problem.field, problem.line) == ("warning", "spec.identity.certificates", 5)
    assert "expires in 1.0 hours" in problem.expected


def test_without_an_identity_it_says_what_is_needed(tmp_path):
    _, [problem] = check(proxy(tmp_path, ""), [], 0)
    assert problem.field == "spec.identity"


def test_a_bad_bootstrap_does_not_hide_bad_policies(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "more.yaml").write_text("b: [")
    _, problems = check(tmp_path / "bad.yaml", [tmp_path / "more.yaml"], 0)
    assert [problem.file for problem in problems] == [str(tmp_path / "bad.yaml"), str(tmp_path / "more.yaml")]


def test_colours_stand_around_what_matters():
    problem = Problem("error", "value", "f.yaml", 1, 2, "A b/c", "d", "1", "expected 2")
    lines = report(1, [problem], [], coloured=True)
    assert lines[0] == "\033[31merror\033[0m: \033[1mf.yaml:1:2\033[0m: A b/c d: got 1, expected 2"
    assert lines[1].startswith("\033[1m\033[31mnot usable: ")


def test_an_outbound_service_that_nobody_knows_is_told_once(tmp_path, mesh):
    file = proxy(tmp_path)
    file.write_text(file.read_text().replace("outbound: [{", "outbound: [{service: 'gone:80', "))
    [problem] = check(file, [], mesh.now)[1]
    assert (problem.severity, problem.field, problem.line) == ("error", "spec.outbound[0].service", 6)


def test_what_is_not_served_is_an_error_with_and_without_a_bootstrap(tmp_path, mesh):
    spec = 'rules: [{when: [{key: "experimental.envoy.filters.a[b]", values: [c]}]}]'
    (tmp_path / "a.yaml").write_text(text_of("AuthorizationPolicy", "security.istio.io/v1", spec))
    for file in (None, proxy(tmp_path)):
        _, [problem] = check(file, [tmp_path / "a.yaml"], mesh.now)
        assert (problem.severity, problem.field, problem.line) == ("error", "spec.rules[0].when[0].key", 5)


def test_an_allow_that_admits_nobody_where_nobody_has_an_identity(tmp_path, mesh):
    file = proxy(tmp_path)
    file.write_text(file.read_text() + "  inbound: [{listen: '127.0.0.1:1', app: '127.0.0.1:2'}]\n")
    allow = text_of("AuthorizationPolicy", "security.istio.io/v1", "rules: [{from: [{source: {namespaces: [a]}}]}]")
    plain = text_of("PeerAuthentication", "security.istio.io/v1", "mtls: {mode: DISABLE}")
    both = f"{allow}---\n{plain}".replace("namespace: ns", "namespace: default")
    (tmp_path / "a.yaml").write_text(both)
    [problem] = check(file, [tmp_path / "a.yaml"], mesh.now)[1]
    assert (problem.severity, problem.field, problem.line) == ("warning", "spec.rules", 5)
    (tmp_path / "a.yaml").write_text(both.replace("DISABLE", "STRICT"))
    assert check(file, [tmp_path / "a.yaml"], mesh.now)[1] == []


def test_strict_takes_no_warnings(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Pod\n---\n" + SERVICE)
    assert run(tmp_path) == 0
    assert run("--strict", tmp_path) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "not clean: 1 document, 0 errors, 1 warning"
    assert run("--strict", "--json", tmp_path) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]
    (tmp_path / "a.yaml").write_text(SERVICE)
    assert run("--strict", tmp_path) == 0


def test_without_a_name_it_is_the_document_that_is_here(tmp_path, mesh, monkeypatch, capsys):
    proxy(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run("--json") == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 1
