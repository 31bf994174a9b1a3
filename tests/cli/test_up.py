"""`meshd up` as a user runs it."""

import json
import subprocess
import sys

import pytest


def up(*arguments):
    argv = [sys.executable, "-m", "meshd", "up", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
def test_every_expectation_is_met_and_told_as_json(tmp_path):
    ended = up("--for", "1s", "--json", "--folder", str(tmp_path / "mesh"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert told["ok"]
    names = [each["name"] for each in told["expectations"]]
    assert names == ["allowed", "mutual TLS", "denied", "retried safely", "not retried", "canary"]
    assert all(each["met"] for each in told["expectations"])
    log = (tmp_path / "mesh" / "reviews.log").read_text()
    assert "Traceback" not in log
    assert (tmp_path / "mesh" / "reviews.access.log").read_text().count("\n") > 100


def test_a_folder_without_documents_is_refused(tmp_path):
    ended = up("--policies", str(tmp_path / "none"))
    assert ended.returncode == 2
    assert "--policies" in ended.stderr


def test_a_duration_that_is_none_is_refused():
    ended = up("--for", "soon")
    assert ended.returncode == 2
    assert "'soon'" in ended.stderr
