"""Keys are fetched when they are due or wanted, and kept while they cannot be had."""

import json
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.origin import Origin
from support.processes import free_port
from support.tokens import key_set, public

from meshd.config.documents import Document, Documents
from meshd.config.request_authentication import RequestAuthentication
from meshd.filters.jwks import MAX_SET
from meshd.process import key_sets
from meshd.process.key_sets import (
    AGAIN,
    AGAIN_AT_MOST,
    MAX_SETS,
    PAUSE,
    REFRESH,
    SOONEST,
    UNKEPT,
    Answer,
    Fetched,
    FetchError,
    KeySets,
    fetch,
    kept_for,
)
from meshd.process.start import FetchedKeys


def documents(*uris, **more):
    rules = [{"issuer": f"i{place}", "jwksUri": uri, **more} for place, uri in enumerate(uris)]
    model = RequestAuthentication.model_validate(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "r"},
            "spec": {"jwtRules": [*rules, {"issuer": "inline", "jwks": key_set()}]},
        }
    )
    return Documents(request_authentications=(Document(model, "f.yaml", b""),))


def serve(*bodies, fields=""):
    """An origin that answers with each body in its turn, the last for ever; a number is a status."""
    answers = list(bodies)

    def behave(wire, _request):
        body = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(body, int):
            wire.sock.sendall(b"HTTP/1.1 %d No\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n" % body)
        else:
            wire.sock.sendall(f"HTTP/1.1 200 OK\r\n{fields}content-length: {len(body)}\r\n\r\n{body}".encode())

    return Origin(behave)


class Watched:
    """Key sets that are watched: `told` has what there was after each change."""

    def __init__(self, *uris, known=None, **more):
        self.sets = KeySets(FetchedKeys(0, known or {}))
        self.documents = documents(*uris, **more)
        self.told = []

    def changed(self):
        self.told.append(self.sets.fetched())

    async def __aenter__(self):
        self.manager = trio.open_nursery()
        self.nursery = await self.manager.__aenter__()
        self.nursery.start_soon(self.sets.watch, lambda: self.documents, self.changed)
        return self

    async def __aexit__(self, *failure):
        self.nursery.cancel_scope.cancel()
        return await self.manager.__aexit__(*failure)

    async def until(self, holds):
        with trio.fail_after(30):
            while not holds():  # noqa: ASYNC110  # what it waits for tells nobody
                await trio.sleep(0.01)

    def failures(self, uri):
        return self.sets._sets[uri].failures if uri in self.sets._sets else 0

    async def until_told(self, count):
        await self.until(lambda: len(self.told) >= count)
        return self.told[-1].texts


def test_a_set_is_fetched_as_it_is():
    with serve(key_set()) as origin:
        assert fetch(f"http://{origin.address}/keys?a=b", 2.0) == Answer(key_set(), None)
        [asked] = origin.take()
        assert (asked.method, asked.target) == ("GET", "/keys?a=b")


def test_its_issuer_says_how_long_it_may_be_kept():
    with serve(key_set(), fields="Cache-Control: public, max-age=30\r\nAge: 10\r\n") as origin:
        assert fetch(f"http://{origin.address}/", 2.0) == Answer(key_set(), 20.0)


@pytest.mark.parametrize(
    ("lifetime", "seconds"),
    [(None, REFRESH), (0.0, UNKEPT), (1.0, SOONEST), (90.0, 90.0), (86400.0, REFRESH)],
)
def test_what_issuers_say_is_kept_within_bounds(lifetime, seconds):
    assert kept_for(lifetime) == seconds


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (404, "status 404"),
        (302, "status 302"),
        ("{}", "not a key set"),
        (key_set() + " " * MAX_SET, "more than"),
    ],
)
def test_what_is_no_set(body, why):
    with serve(body) as origin, pytest.raises(FetchError, match=why):
        fetch(f"http://{origin.address}", 2.0)


@pytest.mark.parametrize("keys", [[], [{"kty": "oct", "k": "AA"}], [public("ES256", use="enc")]])
def test_a_set_without_a_key_of_use_is_one_too(keys):
    """An issuer takes its keys back by leaving them out: that is no failure to be waited out with the old ones."""
    text = json.dumps({"keys": keys})
    with serve(text) as origin:
        assert fetch(f"http://{origin.address}", 2.0).text == text


def test_nobody_is_there():
    with pytest.raises(FetchError, match="refused"):
        fetch(f"http://127.0.0.1:{free_port()}/", 2.0)


def test_a_server_that_is_not_to_be_trusted():
    with serve(key_set()) as origin, pytest.raises(FetchError):
        fetch(f"https://{origin.address}/", 0.2)


def test_when_a_set_is_due():
    fetched, now = Fetched(), 100.0
    waits = []
    for _ in range(9):
        fetched.fail(now)
        waits.append(fetched.due - now)
    assert waits[:3] == [AGAIN, 2 * AGAIN, 4 * AGAIN]
    assert waits[-1] == AGAIN_AT_MOST
    assert fetched.succeed(Answer("a", None), now)
    assert not fetched.succeed(Answer("a", None), now)
    assert fetched.due == now + REFRESH
    fetched.succeed(Answer("a", 30.0), now)
    assert fetched.due == now + 30
    fetched.fail(now)
    assert (fetched.due, fetched.text) == (now + AGAIN, "a")


def test_a_set_that_is_wanted_is_due_but_never_sooner_than_the_pause():
    fetched, now = Fetched(), 100.0
    fetched.begin(now)
    fetched.succeed(Answer("a", None), now)
    for _ in range(1000):
        fetched.want()
    assert fetched.due == now + PAUSE
    fetched.begin(now + PAUSE)
    fetched.fail(now + PAUSE)
    fetched.fail(now + PAUSE)
    fetched.want()
    assert fetched.due == now + PAUSE + 2 * AGAIN  # an issuer that is away is not asked more often for it


@given(
    st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["want", "succeed", "fail"]), st.floats(0, 100)), max_size=200)
)
def test_whatever_strangers_and_issuers_do_a_set_is_fetched_at_a_bounded_rate(events):
    fetched, now, began = Fetched(), 0.0, []
    for pause, event, lifetime in events:
        now += pause
        if event == "want":
            fetched.want()
        if fetched.due <= now:
            began.append((now, fetched.failures))
            fetched.begin(now)
            if event == "fail":
                fetched.fail(now)
            else:
                fetched.succeed(Answer("a", lifetime), now)
    for (before, _), (after, failures) in pairwise(began):
        assert after - before >= (AGAIN if failures else min(SOONEST, PAUSE)) - 1e-6


async def test_sets_are_kept_while_they_cannot_be_had(monkeypatch):
    monkeypatch.setattr(key_sets, "AGAIN", 3600.0)  # it does not come back by itself while we look
    monkeypatch.setattr(key_sets, "AGAIN_AT_MOST", 3600.0)
    other = key_set(public("EdDSA"))
    with serve(key_set(), 503, other) as origin:
        uri = f"http://{origin.address}/"
        async with Watched(uri) as watched:
            assert await watched.until_told(1) == {uri: key_set()}
            assert len(origin.take()) == 1
            watched.sets.renew()
            await watched.until(lambda: watched.failures(uri) == 1)
            assert watched.sets.fetched().texts == {uri: key_set()}
            assert dict(watched.sets.counters()) == {("meshd.jwks.fetches", ()): 2, ("meshd.jwks.failures", ()): 1}
            watched.sets.renew()
            assert await watched.until_told(2) == {uri: other}
            assert [each.version for each in watched.told] == [1, 2]


async def test_one_that_failed_is_fetched_again_soon():
    with serve(503, key_set()) as origin:
        uri = f"http://{origin.address}/"
        async with Watched(uri) as watched:
            assert await watched.until_told(1) == {uri: key_set()}
            assert watched.failures(uri) == 0


async def test_a_set_that_is_wanted_is_fetched_again():
    other = key_set(public("EdDSA"))
    with serve(key_set(), other) as origin:
        uri = f"http://{origin.address}/"
        async with Watched(uri) as watched:
            await watched.until_told(1)
            watched.sets._sets[uri].asked -= PAUSE
            watched.sets.want([uri, "http://unknown.test/"])
            assert await watched.until_told(2) == {uri: other}


async def test_nobody_is_told_of_a_set_that_says_the_same():
    with serve(key_set()) as origin:
        uri = f"http://{origin.address}/"
        async with Watched(uri) as watched:
            await watched.until_told(1)
            watched.sets.renew()
            await watched.until(lambda: len(origin.take()) == 1)
            await watched.until(lambda: not watched.sets._sets[uri].is_under_way)
            assert len(watched.told) == 1


async def test_one_that_hangs_does_not_hold_up_the_others():
    def hang(wire, _request):
        wire.more()

    with serve(key_set()) as origin, Origin(hang) as hanging:
        good, bad = f"http://{origin.address}/", f"http://{hanging.address}/"
        async with Watched(bad, good, timeout="1h") as watched:
            assert await watched.until_told(1) == {good: key_set()}
            assert watched.sets._sets[bad].is_under_way
            hanging.close()


async def test_one_that_never_ends_is_given_up():
    def drip(wire, _request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        wire.more()

    with Origin(drip) as origin:
        uri = f"http://{origin.address}/"
        async with Watched(uri, timeout="50ms") as watched:
            await watched.until(lambda: watched.failures(uri) > 0)
            assert watched.sets.fetched().texts == {}


async def test_what_no_document_names_is_forgotten_and_what_is_known_stays():
    bad = f"http://127.0.0.1:{free_port()}/"
    async with Watched(bad, known={bad: "kept", "http://gone.test/": "old"}) as watched:
        await watched.until(lambda: watched.failures(bad) > 0)
        assert watched.sets.fetched().texts == {bad: "kept"}
        assert repr(watched.sets) == "<KeySets of 1 issuers>"


async def test_there_are_not_too_many():
    with serve(key_set()) as origin:
        async with Watched(*(f"http://{origin.address}/{place}" for place in range(MAX_SETS + 3))) as watched:
            await watched.until_told(MAX_SETS)
            assert len(watched.sets._sets) == len(watched.sets.fetched().texts) == MAX_SETS
