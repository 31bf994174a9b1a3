"""A policy by the client's address says so where nobody said which proxies may tell it."""

from types import SimpleNamespace

import pytest
from support.authorization import policy, rule

from meshd.config.client_check import check_clients
from meshd.config.documents import Document, Documents
from meshd.config.spot import Spot


def fields(*rules, trusted=None, is_loaded=True):
    document = Document(policy(*rules), "f.yaml", Spot(1, 1, 1, 1))
    spec = SimpleNamespace(num_trusted_proxies=trusted)
    loaded = SimpleNamespace(proxy=SimpleNamespace(spec=spec)) if is_loaded else None
    problems = list(check_clients(Documents(authorization_policies=(document,)), loaded))
    assert all("numTrustedProxies" in each.message for each in problems)
    return [each.field for each in problems]


BY_CLIENT = rule({"notRemoteIpBlocks": ["10.0.0.0/8"]}, when=[{"key": "remote.ip", "values": ["10.0.0.1"]}])


@pytest.mark.parametrize("is_loaded", [True, False])
def test_the_place_is_named(is_loaded):
    places = ["spec.rules[0].from[0].source.notRemoteIpBlocks", "spec.rules[0].when[0].key"]
    assert fields(BY_CLIENT, is_loaded=is_loaded) == places
    assert fields(rule({"remoteIpBlocks": ["10.0.0.1"]}), is_loaded=is_loaded)[0].endswith("remoteIpBlocks")


@pytest.mark.parametrize("trusted", [0, 1])
def test_nothing_to_say(trusted):
    assert fields(BY_CLIENT, trusted=trusted) == []
    assert fields(rule({"ipBlocks": ["10.0.0.0/8"]}, when=[{"key": "source.ip", "values": ["10.0.0.1"]}])) == []
