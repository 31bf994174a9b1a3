"""The same value gives the same key, another one another, and without the value the key is any."""

from random import Random

import pytest
from support.requests import exchange_of

from meshd.core.peer import Peer
from meshd.upstream.hash_key import key_by


def exchange(value):
    return exchange_of(
        target=f"/?other=1&us%65r={value}&user=last",
        headers=[("X-User", value), ("Cookie", f"a=1; user={value}; b=2")],
        peer=Peer(f"10.0.0.{value}"),
    )


@pytest.mark.parametrize("hash_by", ["header:x-user", "header:X-USER", "cookie:user", "query:user", "source-ip"])
def test_a_value_is_its_key(hash_by):
    one, other = key_by(hash_by, Random(1)), key_by(hash_by, Random(2))
    keys = [one(exchange(str(value))) for value in range(9)]
    assert [other(exchange(str(value))) for value in range(9)] == keys
    assert len(set(keys)) == 9


@pytest.mark.parametrize("hash_by", ["header:x-none", "cookie:none", "query:none", "cookie:use", "query:use"])
def test_without_the_value_any_key_will_do(hash_by):
    key_of = key_by(hash_by, Random(1))
    assert len({key_of(exchange("1")) for _ in range(9)}) == 9


def test_nothing_is_hashed():
    assert key_by("", Random(1)) is None
