from random import Random

from hypothesis import given
from hypothesis import strategies as st

from meshd.demo.expectations import CANARY_LEAST, Seen, enough, judge


def good() -> Seen:
    return Seen(
        requests=240,
        allowed=200,
        identified=200,
        denied=10,
        denied_attempts=10,
        retried=10,
        flaky=10,
        posts=10,
        posts_seen=10,
        posts_failed=10,
        versions={"v1": 180, "v2": 20},
    )


def met(seen: Seen) -> dict[str, bool]:
    return {each.name: each.met for each in judge(seen)}


def test_nothing_seen_meets_nothing():
    assert not any(met(Seen()).values())
    assert not enough(Seen())


def test_what_the_documents_promise_is_met():
    assert all(met(good()).values())
    assert enough(good())


def test_a_post_delivered_twice_is_told():
    seen = good()
    seen.posts_seen += 1
    assert [name for name, kept in met(seen).items() if not kept] == ["not retried"]


def test_one_delete_let_through_is_told():
    seen = good()
    seen.denied -= 1
    assert [name for name, kept in met(seen).items() if not kept] == ["denied"]


def test_a_caller_without_an_identity_is_told():
    seen = good()
    seen.identified -= 1
    assert [name for name, kept in met(seen).items() if not kept] == ["mutual TLS"]


@given(st.integers(0, 2**32), st.integers(CANARY_LEAST, 2000))
def test_a_fair_split_is_met(seed, total):
    random = Random(seed)
    canary = sum(random.random() < 0.1 for _ in range(total))
    seen = good()
    seen.versions = {"v1": total - canary, "v2": canary}
    assert met(seen)["canary"]


def test_an_even_split_is_no_canary():
    seen = good()
    seen.versions = {"v1": 100, "v2": 100}
    assert not met(seen)["canary"]
