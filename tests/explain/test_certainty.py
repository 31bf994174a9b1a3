"""Yes, no, or either: what is missing makes a rule uncertain only where it makes a difference."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.logs import log_line
from support.replays import ADMIN, TOKENS
from support.worlds import allow, believing, inbound, world_of

from meshd.explain.certainty import all_of, any_of, decide, looks, missing_for, sees
from meshd.explain.logged import Logged
from meshd.explain.sidecar import owners
from meshd.filters.authz import Authorizer

KEYED = {"when": [{"key": "request.headers[x-k]", "values": ["1"]}]}
UNKEYED = {"when": [{"key": "request.headers[x-k]", "notValues": ["1"]}]}
PUT = {"to": [{"operation": {"methods": ["PUT"]}}]}


def logged(world=None, question=None, **change):
    world, question = world or world_of(), question or inbound()
    return Logged(log_line(world, question) | change, world.plan(question))


@given(st.lists(st.sampled_from([True, False, None]), max_size=4))
def test_what_is_certain_holds_however_the_rest_comes_out(parts):
    unknown = parts.count(None)
    outcomes = []
    for guess in product([True, False], repeat=unknown):
        left = list(guess)
        filled = [left.pop() if part is None else part for part in parts]
        outcomes.append((all(filled), any(filled)))
    for found, place in ((all_of(parts), 0), (any_of(parts), 1)):
        seen = {outcome[place] for outcome in outcomes}
        assert found == (seen.pop() if len(seen) == 1 else None)


def test_a_look_at_what_is_missing_is_noted_and_settles_nothing():
    line = logged(user_agent="curl")
    assert sees(line, lambda head: head.get(b"user-agent") == b"curl", line.head) is True
    assert sees(line, lambda head: head.get(b"x-k") == b"1", line.head) is None
    assert sees(line, lambda head: head.upgrade is None, line.head) is None
    assert looks(line, lambda head: head.path, line.head) == (b"/", True)
    assert line.head.missed == {"x-k", "upgrade"}


@pytest.mark.parametrize(
    ("policies", "method", "allowed"),
    [
        ([allow(KEYED)], "GET", None),
        ([allow(KEYED | PUT)], "GET", False),
        ([allow(KEYED, {})], "GET", True),
        ([allow(KEYED | PUT, UNKEYED)], "GET", None),
        ([allow(KEYED, action="DENY")], "GET", None),
        ([allow(KEYED, PUT, action="DENY")], "PUT", False),
        ([allow(KEYED | PUT, action="DENY")], "GET", True),
        ([allow({}), allow(KEYED, action="DENY", name="d")], "GET", None),
        ([allow(PUT), allow(KEYED, action="DENY", name="d")], "GET", False),
        ([allow(PUT, KEYED), allow(KEYED, action="DENY", name="d")], "PUT", None),
    ],
)
def test_authorization(policies, method, allowed):
    world = world_of(*policies)
    [authorizer] = owners(world.plan(inbound()).chain, Authorizer)
    line = logged(world, inbound(method))
    assert decide(authorizer, line)[0] is allowed
    if allowed is not None:  # whatever the header is
        for value in ("1", "2"):
            found = world.ask(inbound(method, headers=(("x-k", value),)))
            assert found.allowed is allowed


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ('request.headers[X-Key] values: ["1"]', "x-key"),
        ('request.headers[User-Agent] values: ["1"]', ""),
        ('request.headers[:path] values: ["1"]', ""),
        ('request.headers[upgrade] values: ["1"]', "upgrade"),
        ('methods: ["GET"]', ""),
        ('request.auth.claims[role] values: ["a"]', ""),
        ('request.auth.claims[group] values: ["a"]', "request.auth.claims[group]"),
        ('request.auth.audiences values: ["a"]', ""),
        ('request.auth.presenter values: ["a"]', "request.auth.presenter"),
        ('request.auth.principal values: ["a"]', ""),
        ('notRequestPrincipals: ["a"]', ""),
        ('ipBlocks: ["10.0.0.0/8"]', ""),
        ('destination.ip values: ["10.0.0.0/8"]', "the address of the listener"),
    ],
)
def test_what_a_check_looks_at(name, missing):
    role = allow({"when": [{"key": "request.auth.claims[role]", "values": ["admin"]}]})
    line = logged(world_of(believing(TOKENS), role), ADMIN)
    line.believe()
    assert missing_for(name, line) == missing
    nobody = logged(downstream_remote_address=None)
    if "auth" in name:
        assert missing_for(name, nobody) == ""  # who has no token has no claims
    assert missing_for('remote.ip notValues: ["10.0.0.0/8"]', nobody) == "the client's address"
