"""`meshd schema`: what it prints, and its exit codes."""

import argparse
import json

from meshd.cli.schema import add_parser
from meshd.config.documents import KINDS


def run(*words):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["schema", *words])
    return args.run(args)


def test_kinds_are_listed(capsys):
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*KINDS, "PolicyTest"]


def test_a_schema_is_json(capsys):
    assert run("PeerAuthentication") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "PeerAuthentication"


def test_an_unknown_kind_is_wrong_usage(capsys):
    assert run("Peer") == 2
    assert "no kind 'Peer'" in capsys.readouterr().err
