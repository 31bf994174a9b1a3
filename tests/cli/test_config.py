"""`meshd config effective`: every value, and where it came from."""

import json

import pytest

from meshd.cli.main import main

TEXT = """\
apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: orders, labels: {app: orders}}
spec:
  drain: 5s
  identity: {certificates: "${CERTS}"}
  inbound:
    - {listen: "127.0.0.1:15006", app: "127.0.0.1:8080"}
  policies: [a, b]
  telemetry: null
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTS", "certs/out")
    path = tmp_path / "proxy.yaml"
    path.write_text(TEXT)
    return path


def effective(capsys, file, *words):
    assert main(["config", "effective", "-f", str(file), "--json", *words]) == 0
    return {field: (each["value"], each["source"]) for field, each in json.loads(capsys.readouterr().out).items()}


def test_lines_environment_flags_and_defaults(file, capsys, monkeypatch):
    monkeypatch.setenv("MESHD_WORKERS", "3")
    found = effective(capsys, file, "--set", "admin.listen=127.0.0.1:9")
    assert found["spec.drain"] == ("5s", f"{file}:5")
    assert found["spec.identity.certificates"] == ("certs/out", f"{file}:6 (env)")
    assert found["spec.identity.trustDomain"] == ("cluster.local", "default")
    assert found["spec.identity.serviceAccount"] == ("orders", "default: metadata.name")
    assert found["spec.inbound[0].app"] == ("127.0.0.1:8080", f"{file}:8")
    assert found["spec.policies[1]"] == ("b", f"{file}:9")
    assert found["spec.telemetry"] == (None, f"{file}:10")
    assert found["spec.workers"] == (3, "env MESHD_WORKERS")
    assert found["spec.admin.listen"] == ("127.0.0.1:9", "flag spec.admin.listen")
    assert found["metadata.labels"] == ({"app": "orders"}, f"{file}:3")
    assert "metadata.uid" not in found


def test_as_a_table_without_colours(file, capsys):
    assert main(["config", "effective", "-f", str(file)]) == 0
    out = capsys.readouterr().out
    assert ["spec.drain", '"5s"', f"{file}:5"] in [line.split() for line in out.splitlines()]
    assert "\033" not in out


def test_the_log_s_own_variables_are_no_fields(file, capsys, monkeypatch):
    monkeypatch.setenv("MESHD_LOG_LEVEL", "debug")
    monkeypatch.setenv("MESHD_WORKRES", "1")
    assert main(["config", "effective", "-f", str(file)]) == 0
    errors = capsys.readouterr().err
    assert "MESHD_LOG_LEVEL" not in errors
    assert "did you mean 'MESHD_WORKERS'?" in errors


def test_a_document_that_is_not_usable(tmp_path, capsys):
    file = tmp_path / "proxy.yaml"
    file.write_text(TEXT.replace("drain", "drian").replace("${CERTS}", "c"))
    assert main(["config", "effective", "-f", str(file)]) == 1
    assert f"error: {file}:5:3: Proxy default/orders spec.drian" in capsys.readouterr().err


def test_wrong_usage(file, capsys):
    assert main(["config", "effective", "-f", str(file), "--set", "x"]) == 2
    assert "expected FIELD=VALUE" in capsys.readouterr().err
