"""The Proxy document that a command is about."""

import argparse
from pathlib import Path

from meshd.cli.proxy_file import add_file, file_of


def test_the_one_that_is_here_is_taken_where_none_is_named(tmp_path, monkeypatch):
    parser = argparse.ArgumentParser()
    add_file(parser)
    monkeypatch.chdir(tmp_path)
    assert file_of(parser.parse_args([])) is None
    (tmp_path / "proxy.yaml").touch()
    assert file_of(parser.parse_args([])) == Path("proxy.yaml")
    assert file_of(parser.parse_args(["-f", "other.yaml"])) == Path("other.yaml")
