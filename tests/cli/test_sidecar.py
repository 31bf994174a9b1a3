"""The sidecar that a command is about."""

import argparse

import pytest
from support.worlds import allow

from meshd.cli.sidecar import add_sidecar, load_world

PROXY = """\
apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: reviews, namespace: shop}
spec:
  identity: {certificates: certs}
  inbound: [{listen: "127.0.0.1:15006", app: "127.0.0.1:8080"}]
  policies: [named.yaml]
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "named.yaml").write_text(allow({}, name="named"))
    (tmp_path / "other.yaml").write_text(allow({}, name="other"))
    path = tmp_path / "proxy.yaml"
    path.write_text(PROXY)
    return path


@pytest.mark.parametrize(("given", "name"), [(None, "named"), (["other.yaml"], "other")])
def test_the_policies_it_names_or_those_in_their_place(file, given, name):
    loaded, world = load_world(file, given and [file.parent / each for each in given])
    assert loaded.proxy is world.proxy
    assert [each.model.name for each in world.documents.authorization_policies] == [name]


def test_its_options():
    parser = argparse.ArgumentParser()
    add_sidecar(parser)
    args = parser.parse_args(["-f", "p.yaml", "--policies", "a", "--policies", "b"])
    assert (str(args.file), list(map(str, args.policies))) == ("p.yaml", ["a", "b"])
    assert parser.parse_args([]).file is None
