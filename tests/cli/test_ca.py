import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from meshd.cli import ca
from meshd.identity.credentials import load_credentials

CHECKOUT = Path(__file__).parents[2]


class Shell:
    """A person in a folder of their own, who types commands."""

    def __init__(self, capsys):
        self.capsys = capsys

    def __call__(self, line, status=0):
        assert ca.main(shlex.split(line)) == status
        found = self.capsys.readouterr()
        return found.err if status else found.out

    def json(self, line, status=0):
        assert ca.main([*shlex.split(line), "--json"]) == status
        return json.loads(self.capsys.readouterr().out)


@pytest.fixture
def shell(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


def test_from_nothing_to_two_workloads(shell):
    assert "new CA for trust domain cluster.local in certs/out/ca" in shell("init")
    assert "spiffe://cluster.local/ns/default/sa/orders\n  in certs/out/orders" in shell(
        "issue --service-account orders"
    )
    shell("issue --namespace web --service-account front --dns Front.Web --ttl 15m")
    assert sorted(path.name for path in Path("certs/out").iterdir()) == [".gitignore", "ca", "orders", "web.front"]
    assert "2 folders: every certificate is good" in shell("verify")


def test_commands_answer_programs_too(shell):
    assert shell.json("init --trust-domain mesh.test --ttl 365d")["trustDomain"] == "mesh.test"
    leaf = shell.json("issue --service-account orders --dns a.test --dns b.test")
    assert (leaf["spiffeId"], leaf["dns"]) == ("spiffe://mesh.test/ns/default/sa/orders", ["a.test", "b.test"])
    shown = shell.json("show")
    assert [row["serial"] for row in shown["issued"]] == [leaf["serial"]]
    assert shell.json("verify") == {"folders": ["certs/out/orders"], "problems": []}
    assert shell.json("renew certs/out/orders")["renewed"][0]["serial"] != leaf["serial"]
    assert shell.json("publish") == {"published": ["certs/out/orders"]}
    assert shell.json("rotate-root start")["step"] == "start"
    assert shell.json("revoke certs/out/orders")["revoked"][0]["state"] == "revoked"


def test_folders_can_be_anywhere(shell):
    shell("init --out elsewhere/authority")
    shell("issue --ca elsewhere/authority --service-account orders --out deep/in/here")
    shell("issue --ca elsewhere/authority --service-account reviews")
    assert Path("deep/in/here/tls.crt").exists()
    assert Path("elsewhere/reviews/tls.crt").exists()
    assert "2 folders" in shell("verify --ca elsewhere/authority")


def test_renewal_of_all_that_are_due_and_not_revoked(shell, monkeypatch):
    shell("init")
    for name in ("long --ttl 30d", "short --ttl 2h", "bad --ttl 2h"):
        shell(f"issue --service-account {name}")
    shell("revoke certs/out/bad")
    assert shell("renew --all --if-due") == "nothing to renew\n"
    now = ca.time.time()
    monkeypatch.setattr(ca.time, "time", lambda: now + 5400)
    assert [row["folder"] for row in shell.json("renew --all --if-due")["renewed"]] == ["certs/out/short"]
    assert [row["folder"] for row in shell.json("renew --all")["renewed"]] == ["certs/out/long", "certs/out/short"]
    assert load_credentials("certs/out/short", "cluster.local", now + 5400).remaining(now + 5400) > 7190


@pytest.mark.parametrize("by", ["folder", "serial", "identity"])
def test_revocation_by_each_kind_of_name(shell, by):
    shell("init")
    leaf = shell.json("issue --service-account orders")
    shell("issue --service-account reviews")
    target = {"folder": leaf["folder"], "serial": leaf["serial"].upper(), "identity": leaf["spiffeId"]}[by]
    assert f"revoked {leaf['spiffeId']}, serial {leaf['serial']}" in shell(f"revoke {target}")
    problems = shell.json("verify", status=1)["problems"]
    assert len(problems) == 2  # by itself and by the other
    assert all("refuses certs/out/orders" in problem and "(revoked)" in problem for problem in problems)
    shell("issue --service-account orders --force")
    assert shell.json("verify")["problems"] == []


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("spiffe://cluster.local/ns/x/sa/y", "no live certificate of"),
        ("spiffe://cluster.local//", "empty path segment"),
        ("abc123", "no such certificate was issued here: abc123"),
        ("what?", "no folder, no serial number"),
        (".", "is not a certificate that"),
    ],
)
def test_a_revocation_of_nothing_says_so(shell, target, reason):
    shell("init")
    assert reason in shell(f"revoke {target}", status=1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("show", "has no CA (no index.json); make one with init"),
        ("issue --service-account x", "has no CA"),
        ("init --trust-domain Nope!", "lower-case letters"),
        ("show nowhere.pem", "nowhere.pem: No such file"),
        ("show .", "tls.crt: No such file"),
    ],
)
def test_errors_are_one_line_on_standard_error(shell, line, reason):
    error = shell(line, status=1)
    assert error.startswith("meshd: error: ")
    assert reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("init", "--force replaces it"),
        ("issue --service-account orders", "renew it, or replace it with --force"),
        ("issue --service-account a/b", "service account 'a/b'"),
        ("renew", "name the folders to renew, or --all"),
        ("renew --all certs/out/orders", "name the folders to renew, or --all"),
        ("rotate-root finish", "begin with rotate-root start"),
    ],
)
def test_what_can_not_be_done_says_what_can(shell, line, reason):
    shell("init")
    shell("issue --service-account orders")
    assert reason in shell(line, status=1)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "issue",
        "issue --service-account x --ttl 24",
        "issue --service-account x --ttl 0h",
        "issue --service-account x --dns -bad.test",
        "issue --service-account x --dns *.test",
        "rotate-root",
    ],
)
def test_wrong_usage_ends_with_2(shell, line):
    with pytest.raises(SystemExit) as caught:
        ca.main(shlex.split(line))
    assert caught.value.code == 2


def test_a_broken_folder_is_found_by_verify(shell):
    shell("init")
    shell("issue --service-account orders")
    Path("certs/out/orders/tls.key").write_text("")
    problems = shell.json("verify", status=1)["problems"]
    assert problems == ["certs/out/orders/tls.key: holds no readable PEM private key"]


def test_a_ca_with_its_key_in_a_safe(shell):
    assert "move it to a safe place" in shell("init --intermediate")
    Path("certs/out/ca/ca.key").unlink()
    shell("issue --service-account orders")
    for line in ("rotate-root start", "rotate-root finish", "renew --all", "rotate-root retire"):
        shell(line)
        shell("verify")


def test_it_is_a_command_of_meshd(shell):
    parser = argparse.ArgumentParser()
    ca.add_parser(parser.add_subparsers())
    args = parser.parse_args(["ca", "init", "--trust-domain", "mesh.test"])
    assert args.run(args) == 0
    assert Path("certs/out/ca/ca.crt").exists()


def test_every_command_of_the_readme_works_when_pasted(shell):
    blocks = (CHECKOUT / "certs" / "README.md").read_text().split("```sh\n")[1:]
    lines = [line for block in blocks for line in block.split("```")[0].splitlines()]
    assert len(lines) > 15
    for line in lines:
        program, _, rest = line.partition(" ")
        assert program == "certs/ca.py"
        shell(rest)


def test_every_reason_in_the_readme_exists_in_the_code():
    rows = (CHECKOUT / "certs" / "README.md").read_text().split("| reason |")[1].splitlines()[2:]
    codes = {code.strip("` ") for row in rows for code in row.split("|")[1].split(",")}
    source = "".join(path.read_text() for path in (CHECKOUT / "meshd" / "identity").glob("*.py"))
    assert codes
    assert all(f'"{code}"' in source for code in codes)


def test_the_script_runs_from_a_checkout(tmp_path):
    script = str(CHECKOUT / "certs" / "ca.py")
    command = [sys.executable, script, "init", "--json"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["roots"][0]["role"] == "issuing"


def test_init_names_its_folder_like_its_siblings(shell):
    shell("init --ca one/ca")
    shell("init --out two/ca")
    shell("issue --ca one/ca --service-account orders")
    assert "1 folder" in shell("verify --ca one/ca")


def test_keys_are_not_for_version_control(shell):
    """Nor are those of leaves, where they have been given a folder that was made for them."""
    shell("init")
    for folder in ("certs/out", "certs/out/ca"):
        assert Path(folder, ".gitignore").read_text() == "*\n"
    Path("mine").mkdir()
    shell("init --ca mine/ca")
    assert Path("mine/ca/.gitignore").read_text() == "*\n"
    assert [each.name for each in Path("mine").iterdir()] == ["ca"]


def test_verify_refuses_what_the_index_does_not_know(shell):
    """A certificate that is good in every other way, made with the CA's key but not by it."""
    shell("init")
    shell("issue --service-account orders")
    before = Path("certs/out/ca/index.json").read_text()
    shell("issue --service-account payments")
    assert shell.json("verify certs/out/payments")["problems"] == []
    Path("certs/out/ca/index.json").write_text(before)
    [problem] = shell.json("verify certs/out/orders certs/out/payments", status=1)["problems"]
    assert problem.startswith("certs/out/payments: certs/out/ca has not issued serial ")


def test_verify_knows_of_a_revocation_that_a_folder_has_not_heard_of(shell):
    shell("init")
    shell("issue --service-account orders")
    crl = Path("certs/out/orders/crl.pem").read_bytes()
    shell("revoke certs/out/orders")
    Path("certs/out/orders/crl.pem").write_bytes(crl)
    problems = shell.json("verify", status=1)["problems"]
    assert any("certs/out/orders" in each and "revoked" in each for each in problems)
