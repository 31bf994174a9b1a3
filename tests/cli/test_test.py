"""`meshd test`: cases that pass, cases that fail where they stand, and files that are no tests."""

import json

import pytest

from meshd.cli.main import main

POLICY = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: default}
spec:
  rules:
    - to: [{operation: {methods: ["GET"]}}]
"""
HEAD = """\
apiVersion: meshd.dev/v1alpha1
kind: PolicyTest
metadata: {name: readers}
spec:
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)

    def written(spec, name="readers_test.yaml", head=HEAD):
        file = tmp_path / name
        file.write_text(head + "".join(f"  {line}\n" for line in spec.strip().splitlines()))
        return file

    return written


PASSES = """
cases:
  - name: reading
    given: {from: web}
    expect: {verdict: allow, policy: readers, rule: 0}
"""
FAILS = """
cases:
  - name: reading
    given: {from: web}
    expect: {verdict: allow}
  - name: writing
    given: {from: web, method: PUT}
    expect:
      status: 403
      verdict: allow
"""


def test_what_passes_says_how_many(write, capsys):
    assert main(["test", str(write(PASSES))]) == 0
    assert capsys.readouterr().out == "1 case, 0 failed\n"


def test_verbose_names_them(write, capsys):
    file = write(PASSES)
    assert main(["test", "-v", str(file)]) == 0
    assert capsys.readouterr().out.startswith(f"passed  reading  {file}:6\n")


def test_a_failure_stands_where_the_expectation_stands(write, capsys):
    file = write(FAILS)
    assert main(["test", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"FAILED  writing  {file}:9"
    assert lines[1].startswith(f"  {file}:13: verdict: expected allow, got deny (denied: rbac_access_denied")
    assert lines[2:] == ["2 cases, 1 failed"]


def test_as_json(write, capsys):
    file = write(FAILS)
    assert main(["test", "--json", str(file)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["passed"], told["failed"]) == (False, 1, 1)
    [mismatch] = told["cases"][1]["mismatches"]
    assert (mismatch["place"], mismatch["field"], mismatch["expected"]) == (f"{file}:13", "expect.verdict", "allow")


def test_a_folder_is_its_tests(write, tmp_path, capsys):
    write(PASSES)
    write(PASSES, "other_test.yml")
    assert main(["test", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "2 cases, 0 failed\n"


def test_the_sidecar_is_described_or_its_document_named(write, tmp_path, capsys):
    (tmp_path / "proxy.yaml").write_text(
        "apiVersion: meshd.dev/v1alpha1\nkind: Proxy\nmetadata: {name: orders}\n"
        "spec: {identity: {certificates: c}, inbound: [{listen: '127.0.0.1:1', app: '127.0.0.1:2'}]}\n"
    )
    named = "policies: [policy.yaml]\nproxy: proxy.yaml" + PASSES
    assert main(["test", str(write(named))]) == 0
    both = named + "sidecar: {name: a}\n"
    assert main(["test", str(write(both))]) == 2
    assert "expected only one of proxy, sidecar" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("cases: []", ":5:10: PolicyTest default/readers spec.cases: got a list, expected at least 1 entry"),
        ("cases: [{name: a, expect: {}}]", "expected at least one expectation"),
        ("cases: [{name: a, expect: {verdcit: deny}}]", "unknown field 'verdcit'; did you mean 'verdict'?"),
        ("cases: [{name: a, expect: {verdict: refuse}}]", "expected one of 'allow', 'deny'"),
        ("cases: [{name: a, expect: {retried: true}}]", "spec.cases[0].given.failure: required when 'retried'"),
        ("cases: [", "not YAML"),
    ],
)
def test_mistakes_name_their_place(write, capsys, spec, told):
    file = write(spec)
    assert main(["test", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"meshd: error: {file}:")
    assert told in error


def test_a_request_that_makes_no_sense_fails_its_case(write, capsys):
    file = write("cases: [{name: a, given: {from: 'spiffe://'}, expect: {verdict: deny}}]")
    assert main(["test", str(file)]) == 1
    assert "given: expected a request that makes sense, got " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("apiVersion: v1\nkind: PolicyTest\nspec:\n", ":1:13: apiVersion: got 'v1', expected 'meshd.dev/v1alpha1'"),
        ("apiVersion: meshd.dev/v1alpha1\nkind: Test\nspec:\n", ":2:7: kind: got 'Test', expected 'PolicyTest'"),
        ("apiVersion: meshd.dev/v1alpha1\nspec:\n", "kind: expected 'PolicyTest'"),
    ],
)
def test_other_documents_are_no_tests(write, capsys, head, told):
    assert main(["test", str(write(PASSES, head=head))]) == 2
    assert told in capsys.readouterr().err


def test_nothing_to_test(tmp_path, capsys):
    assert main(["test", str(tmp_path)]) == 2
    assert "got 0 files, expected 1 to 1000 files whose names end with _test.yaml" in capsys.readouterr().err
    (tmp_path / "empty.yaml").write_text("")
    assert main(["test", str(tmp_path / "empty.yaml")]) == 2
    assert "expected a PolicyTest, there is none" in capsys.readouterr().err
    assert main(["test", str(tmp_path / "gone.yaml")]) == 2


def test_policies_that_do_not_load(write, tmp_path, capsys):
    (tmp_path / "policy.yaml").write_text(POLICY.replace("methods", "method"))
    assert main(["test", str(write(PASSES))]) == 2
    assert "did you mean 'methods'?" in capsys.readouterr().err
