"""Keys are fetched when they are due, kept while they cannot be had, and only taken when they can verify."""

import json

import pytest
from support.origin import Origin, ok
from support.processes import free_port
from support.tokens import key_set, public

from meshd.config.documents import Document, Documents
from meshd.config.request_authentication import RequestAuthentication
from meshd.filters.jwks import MAX_SET
from meshd.process.key_sets import AGAIN, AGAIN_AT_MOST, MAX_SETS, REFRESH, Fetched, FetchError, KeySets, fetch


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


def serve(*bodies):
    """An origin that answers with each body in its turn, the last for ever; a number is a status."""
    answers = list(bodies)

    def behave(wire, _request):
        body = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(body, int):
            wire.sock.sendall(b"HTTP/1.1 %d No\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n" % body)
        else:
            wire.sock.sendall(ok(body.encode()))

    return Origin(behave)


def test_a_set_is_fetched_as_it_is():
    with serve(key_set()) as origin:
        assert fetch(f"http://{origin.address}/keys?a=b", 2.0) == key_set()
        [asked] = origin.take()
        assert (asked.method, asked.target) == ("GET", "/keys?a=b")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (404, "status 404"),
        (302, "status 302"),
        ("{}", "not a key set"),
        (json.dumps({"keys": [{"kty": "oct", "k": "AA"}]}), "'oct' is not one of"),
        (key_set() + " " * MAX_SET, "more than"),
    ],
)
def test_what_is_no_set(body, why):
    with serve(body) as origin, pytest.raises(FetchError, match=why):
        fetch(f"http://{origin.address}", 2.0)


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
    assert fetched.succeed("a", now)
    assert not fetched.succeed("a", now)
    assert fetched.due == now + REFRESH
    fetched.fail(now)
    assert (fetched.due, fetched.text) == (now + AGAIN, "a")


async def test_sets_are_kept_while_they_cannot_be_had():
    import trio

    with serve(key_set(), 503, key_set(public("EdDSA"))) as origin:
        uri = f"http://{origin.address}/"
        sets, known = KeySets({}), documents(uri)
        assert await sets.refresh(known)
        assert sets.texts() == {uri: key_set()}
        assert not await sets.refresh(known)  # not due
        assert len(origin.take()) == 1
        for expected in (key_set(), key_set(public("EdDSA"))):
            sets._sets[uri].due = trio.current_time()
            await sets.refresh(known)
            assert sets.texts() == {uri: expected}


async def test_one_that_fails_does_not_hold_up_the_others():
    with serve(key_set()) as origin:
        good, bad = f"http://{origin.address}/", f"http://127.0.0.1:{free_port()}/"
        sets = KeySets({})
        assert await sets.refresh(documents(bad, good))
        assert sets.texts() == {good: key_set()}


async def test_one_that_never_ends_is_given_up():
    def drip(wire, _request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        wire.more()

    with Origin(drip) as origin:
        sets = KeySets({})
        assert not await sets.refresh(documents(f"http://{origin.address}/", timeout="50ms"))
        assert sets.texts() == {}


async def test_what_no_document_names_is_forgotten_and_what_is_known_stays():
    bad = f"http://127.0.0.1:{free_port()}/"
    sets = KeySets({bad: "kept", "http://gone.test/": "old"})
    assert not await sets.refresh(documents(bad))
    assert sets.texts() == {bad: "kept"}
    assert repr(sets) == "<KeySets of 1 issuers>"


async def test_there_are_not_too_many():
    with serve(key_set()) as origin:
        sets = KeySets({})
        await sets.refresh(documents(*(f"http://{origin.address}/{place}" for place in range(MAX_SETS + 3))))
        assert len(sets.texts()) == MAX_SETS
