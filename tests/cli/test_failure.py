"""How commands fail: with one prefix on standard error, or one JSON object on standard output, and a known code."""

import json
import signal
import subprocess
import sys

import pytest

from meshd.cli import exit_codes
from meshd.cli.main import COMMANDS, main
from meshd.process import supervisor

BAD = "apiVersion: v1\nkind: Sevice\nmetadata: {name: a}\n"

# A command line that fails, with its code. `bad.yaml` is no document that anybody knows, `gone` is not there.
FAILURES = [
    ("check bad.yaml", 1),
    ("check", 2),
    ("check --colour", 2),
    ("explain", 2),
    ("explain -f bad.yaml", 2),
    ("explain -f gone", 2),
    ("explain -H nonsense -f proxy.yaml", 2),
    ("explain --last-denied --admin 127.0.0.1:1", 2),
    ("test gone", 2),
    ("test bad.yaml", 2),
    ("test", 2),
    ("simulate", 2),
    ("simulate --log gone", 2),
    ("simulate --log gone -f proxy.yaml", 2),
    ("simulate --log empty -f proxy.yaml", 2),
    ("simulate --log empty -f bad.yaml", 2),
    ("config", 2),
    ("config effective", 2),
    ("config effective -f bad.yaml", 1),
    ("config effective -f proxy.yaml --set x", 2),
    ("ca show", 1),
    ("ca issue --service-account a --ca gone", 1),
    ("ca verify --ca gone", 1),
    ("ca init --trust-domain Nope!", 1),
    ("ca issue", 2),
    ("ca", 2),
    ("up --policies gone", 2),
    ("up --for ever", 2),
    ("up --folder empty", 2),
    ("test empty/x", 2),
    ("check -f .", 1),
    ("simulate --log . -f proxy.yaml", 2),
    ("schema Servise", 2),
    ("chekc", 2),
    ("version --colour", 2),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "empty").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fails(folder, capsys):
    def run(line):
        if "proxy.yaml" in line:
            (folder / "proxy.yaml").write_text(
                "apiVersion: meshd.dev/v1alpha1\nkind: Proxy\nmetadata: {name: a}\n"
                "spec: {outbound: [{listen: '127.0.0.1:0'}], identity: {certificates: c}}\n"
            )
        capsys.readouterr()
        try:
            code = main(line.split())
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(("line", "code"), FAILURES)
def test_every_failure_has_the_prefix_and_a_code_of_the_table(fails, line, code):
    found, out, err = fails(line)
    assert found == code
    assert str(code) in exit_codes.EXIT_CODES
    lines = [each for each in err.splitlines() if not each.startswith(("usage:", " "))]
    if line.startswith("check") and code == 1:  # its report is its answer
        assert (err, out.splitlines()[-1]) == ("", "not usable: 0 documents, 1 error, 0 warnings")
        return
    assert out == "" or line.startswith("up ")  # which says first that it starts
    assert lines
    assert all(each.startswith("meshd: error: ") for each in lines)


@pytest.mark.parametrize(("line", "code"), FAILURES)
def test_every_failure_is_one_json_object_where_that_was_asked_for(fails, line, code):
    found, out, err = fails(f"{line} --json")
    assert (found, err) == (code, "")
    told = json.loads(out)
    assert told["ok"] is False
    assert told["errors"]
    assert all(each["severity"] == "error" for each in told["errors"])


def test_the_table_is_the_supervisors_too_and_stands_in_help_and_readme(capsys, request):
    assert (exit_codes.OK, exit_codes.NO, exit_codes.CUT) == (supervisor.DRAINED, supervisor.FAILED, supervisor.CUT)
    assert exit_codes.INTERRUPTED == 128 + signal.SIGINT
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    readme = " ".join((request.config.rootpath / "README.md").read_text().split())
    for code, meaning in exit_codes.EXIT_CODES.items():
        assert f"  {code} " in shown
        assert meaning in shown
        assert f"| {code} | {meaning} |" in readme
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["check", "run", "explain", "simulate --log empty"])
def test_a_mistake_in_the_bootstrap_that_only_compiling_finds_has_its_place(folder, line):
    (folder / "proxy.yaml").write_text(
        "apiVersion: meshd.dev/v1alpha1\nkind: Proxy\nmetadata: {name: a}\nspec:\n  outbound:\n"
        "    - {listen: '127.0.0.1:0', service: 'gone:80'}\n"
    )
    (folder / "policies").mkdir()
    (folder / "policies" / "mode.yaml").write_text(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\n"
        "spec: {mtls: {mode: DISABLE}}\n"
    )
    argv = [sys.executable, "-m", "meshd", *line.split()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert "proxy.yaml:6:" in done.stdout + done.stderr
    assert "spec.outbound[0].service: got" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_sidecar_that_does_not_start_says_so_in_the_format_of_its_log(folder):
    def run(*words):
        argv = [sys.executable, "-m", "meshd", "run", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    plain = run("-f", "bad.yaml")
    assert (plain.returncode, plain.stdout) == (1, "")
    assert plain.stderr.startswith("meshd: error: bad.yaml:2:7: ")
    as_json = run("-f", "bad.yaml", "--log-format", "json")
    assert as_json.returncode == 1
    [line] = as_json.stderr.splitlines()
    assert json.loads(line)["level"] == "error"
    assert run().returncode == 2


@pytest.mark.slow
def test_every_line_of_a_log_in_json_is_json(folder):
    (folder / "policies").mkdir()
    (folder / "policies" / "mode.yaml").write_text(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\n"
        "spec: {mtls: {mode: DISABLE}}\n"
    )
    (folder / "proxy.yaml").write_text(
        "apiVersion: meshd.dev/v1alpha1\nkind: Proxy\nmetadata: {name: a}\n"
        "spec: {outbound: [{listen: '127.0.0.1:0'}], admin: {listen: '127.0.0.1:0'}}\n"
    )
    argv = [sys.executable, "-m", "meshd", "run", "--log-format", "json", "--", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    lines = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert any(line.startswith("outbound 127.0.0.1:") for line in lines)
