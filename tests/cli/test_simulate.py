"""`meshd simulate`: what it says of a log, and its exit codes."""

import io
import json
import sys

import pytest
from support.logs import log_line
from support.worlds import allow, inbound, resource, world_of

from meshd.cli.main import main

PROXY = """\
apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: reviews, namespace: shop, labels: {app: reviews}}
spec:
  identity: {trustDomain: td, certificates: certs}
  inbound: [{listen: "127.0.0.1:15006", app: "127.0.0.1:8080"}]
  policies: [old]
"""
GET = allow({"to": [{"operation": {"methods": ["GET"]}}]})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "proxy.yaml").write_text(PROXY)
    for name, text in (("old", allow({})), ("new", GET)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.yaml").write_text(text)
    world = world_of(allow({}))
    lines = [log_line(world, inbound(method, "/x")) for method in ("GET", "PUT", "PUT")]
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in lines) + "\nnot json\n")
    return tmp_path


def simulate(folder, *words):
    return main(["simulate", "-f", str(folder / "proxy.yaml"), "--log", str(folder / "log"), *map(str, words)])


def test_unchanged_documents_change_nothing(folder, capsys):
    assert simulate(folder) == 0
    assert capsys.readouterr().out == "0 of 4 decisions would change\n  3 same, 1 unreadable\n"


def test_other_documents_say_which_and_why(folder, capsys):
    assert simulate(folder, "--policies", folder / "new") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 4 decisions would change"
    assert lines[3] == "2 inbound: allowed by shop/p rule 0"
    assert lines[4] == '  now denied, nearest shop/p rule 0: methods: ["GET"]'
    assert lines[5].split()[1:3] == ["PUT", "reviews.shop/x"]


def test_as_json(folder, capsys):
    assert simulate(folder, "--policies", folder / "new", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["decisions"], told["changed"], told["unreadable"]) == (4, 2, 1)
    assert told["changes"][0]["examples"][0]["method"] == "PUT"


def test_from_standard_input(folder, capsys, monkeypatch):
    class Input:
        buffer = io.BytesIO((folder / "log").read_bytes())

    monkeypatch.setattr(sys, "stdin", Input)
    assert main(["simulate", "-f", str(folder / "proxy.yaml"), "--log", "-"]) == 0


def test_what_no_log_keeps_is_told(folder, capsys):
    header = allow({"when": [{"key": "request.headers[x-key]", "values": ["1"]}]})
    (folder / "new" / "p.yaml").write_text(header)
    assert simulate(folder, "--policies", folder / "new") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["0 of 4 decisions would change", "  3 cannot be told, 1 unreadable"]
    assert lines[-1] == "3 cannot be told: it depends on what this log does not say (x-key)"


LIMIT = resource("RateLimitPolicy", "meshd.dev/v1alpha1", "l", {"rules": [{"requests": 1, "per": "hour"}]})


def test_a_limit_that_is_new_begins_with_full_buckets(folder, capsys):
    world = world_of(allow({}))
    lines = [log_line(world, inbound(), at=at) for at in (1.0, 2.0, 3.0)]
    (folder / "log").write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    (folder / "new" / "p.yaml").write_text(LIMIT)
    assert simulate(folder, "--policies", folder / "new") == 1
    assert "2 inbound: allowed by shop/p rule 0\n  now limited by shop/l rule 0" in capsys.readouterr().out
    # One that was there, or may have been, may have begun with anything.
    for old in (LIMIT, "nonsense"):
        (folder / "old" / "p.yaml").write_text(old)
        assert simulate(folder, "--policies", folder / "new") == 0
        assert capsys.readouterr().out.splitlines()[:2] == ["0 of 3 decisions would change", "  3 cannot be told"]


@pytest.mark.parametrize("content", ["", "text\n", '[1]\n{"method": "GET"}\n'])
def test_a_log_that_is_none(folder, capsys, content):
    (folder / "log").write_text(content)
    assert simulate(folder) == 2
    assert "holds no decision of a JSON access log" in capsys.readouterr().err


def test_a_log_that_is_not_there(folder, capsys):
    (folder / "log").unlink()
    assert simulate(folder) == 2
    assert "cannot read" in capsys.readouterr().err


def test_documents_that_do_not_load(folder, capsys):
    (folder / "new" / "p.yaml").write_text(GET.replace("methods", "method"))
    assert simulate(folder, "--policies", folder / "new") == 2
    assert "did you mean 'methods'?" in capsys.readouterr().err
