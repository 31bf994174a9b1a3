"""A question is carried like any exchange; whatever becomes of it is an answer or none."""

import pytest
import trio
from support.authorization import SCOPE, policy, rule
from support.requests import exchange_of

from meshd.config.extension_provider import ExtensionProvider
from meshd.core.chain import Chain
from meshd.core.errors import DownstreamError, UpstreamError
from meshd.core.head import ResponseHead
from meshd.core.reply import Reply
from meshd.filters.authz import index_rules
from meshd.filters.ext_authz import Gate, compile_asking
from meshd.filters.ext_authz_http import compile_http_check
from meshd.http.events import END
from meshd.net import wait
from meshd.net.reactor import Reactor
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight
from meshd.proxy.gate import MOST, Asker, pass_gate


def check(name, path, **more):
    given = {"name": name, "envoyExtAuthzHttp": {"service": "d.test", "port": 80, "timeout": "1s"} | more}
    custom = policy(rule(None, {"paths": [path]}), action="CUSTOM", provider={"name": name})
    rules = index_rules([custom], "CUSTOM", SCOPE)
    http = ExtensionProvider.model_validate(given).envoy_ext_authz_http
    return compile_http_check(http, compile_asking(name, http, rules, f"{name}.test:80"))


GATE = Gate((check("one", "/a*"), check("two", "*b")))


class Client:
    """The client's side: pieces of a body, of which the first `ready` need no waiting."""

    def __init__(self, *pieces, ready=0):
        self.pieces, self.ready, self.told = list(pieces), ready, []

    def is_gone(self):
        return False

    def abort(self, reason, status):
        self.told.append(reason)

    def body_nowait(self):
        if not self.ready:
            return None
        self.ready -= 1
        return self.pieces.pop(0)

    async def read_body(self):
        if not self.pieces:
            await wait.Event().wait()
        return self.pieces.pop(0)

    async def interim(self, head):
        self.told.append(head.status)


def pass_at(target, carry, gate=GATE, client=None, **head):
    """The reply and the exchange of a request whose questions `carry` answers."""
    flight = Flight(exchange_of(target=target), client or Client())
    for name, value in head.items():
        setattr(flight.exchange.head, name, value)
    found = []

    async def body():
        try:
            found.append(await pass_gate(flight, gate, lambda child, cluster: carry(flight, child, cluster)))
        except DownstreamError as error:
            found.append(error)

    async def run():
        await wait.background.run(body, Reactor())

    return run, found, flight


async def passed(target, carry, gate=GATE, **more):
    run, found, flight = pass_at(target, carry, gate, **more)
    await run()
    return found[0], flight.exchange


def saying(*statuses):
    """Answers in their turn, and notes who was asked."""
    left, asked = list(statuses), []

    async def carry(_flight, child, cluster):
        asked.append((cluster, child.exchange.route.name, child.exchange.head.path))
        await child.down.respond(ResponseHead(left.pop(0)), b"", end=True)

    return carry, asked


async def test_every_authorizer_whose_rules_match_is_asked_in_its_turn():
    carry, asked = saying(200, 200)
    assert (await passed("/a/b", carry))[0] is None
    assert asked == [("one.test:80", "ext_authz/one", b"/a/b"), ("two.test:80", "ext_authz/two", b"/a/b")]
    carry, asked = saying(200)
    assert (await passed("/x/b", carry))[0] is None
    assert [cluster for cluster, *_ in asked] == ["two.test:80"]
    carry, asked = saying()
    assert (await passed("/x", carry))[0] is None
    assert asked == []


async def test_the_first_denial_is_the_last_question():
    carry, asked = saying(401, 200)
    reply, exchange = await passed("/a/b", carry)
    assert (reply.status, len(asked), exchange.verdict.action) == (401, 1, "CUSTOM")


async def test_tokens_come_before_authorizers():
    carry, asked = saying(200)
    gate = Gate(GATE.checks, Chain((lambda exchange: Reply(401),)))
    assert (await passed("/a", carry, gate))[0].status == 401
    assert asked == []


async def test_a_question_that_fails_is_no_answer():
    async def carry(_flight, child, _cluster):
        raise UpstreamError(502, "UF", "refused")

    reply, exchange = await passed("/a", carry)
    assert (reply.status, reply.flag) == (403, "UAEX")
    assert exchange.facts["ext_authz_error"] == "refused"


async def test_half_an_answer_is_none():
    async def carry(_flight, child, _cluster):
        await child.down.respond(ResponseHead(200), b"half", end=False)

    assert (await passed("/a", carry))[0].status == 403


@pytest.mark.parametrize("cause", [Cut.GONE, Cut.DRAINED])
async def test_the_end_of_who_asked_ends_the_question(cause):
    seen = []

    async def carry(flight, child, _cluster):
        flight.cause = cause
        while child.cause is None:
            await wait.sleep_until(wait.now() + 0.01)
        seen.append(child.cause)
        raise UpstreamError(504, "UT", "cut")

    await passed("/a", carry)
    assert seen == [Cut.GONE]


async def test_an_overdue_question_is_cut():
    async def carry(_flight, child, _cluster):
        child.exchange.deadline = wait.now()
        while child.cause is None:
            await wait.sleep_until(wait.now() + 0.01)
        raise UpstreamError(504, "UT", child.cause.value)

    reply, exchange = await passed("/a", carry)
    assert (reply.status, exchange.facts["ext_authz_error"]) == (403, Cut.TIMEOUT.value)


def seeing(*statuses):
    """Answers in their turn, and notes the body that each was shown."""
    left, seen = list(statuses), []

    async def carry(_flight, child, _cluster):
        fields = dict(child.exchange.head.headers)
        body = child.down.body_nowait()
        seen.append((body if isinstance(body, bytes) else None, fields.get(b"x-envoy-auth-partial-body")))
        assert not isinstance(body, bytes) or (child.exchange.head.length == len(body) and await child.down.read_body())
        await child.down.respond(ResponseHead(left.pop(0)), b"", end=True)

    return carry, seen


def showing(most, *, partial=False, path="*"):
    body = {"maxRequestBytes": most, "allowPartialMessage": partial}
    return check("one", path, includeRequestBodyInCheck=body)


async def rest_of(flight):
    """What is left of the body for whoever carries the exchange on."""
    found = []
    while (piece := flight.down.body_nowait() or await flight.down.read_body()) is not END:
        found.append(piece)
    return found


@pytest.mark.parametrize("ready", [0, 1, 3])
@pytest.mark.parametrize(
    ("most", "partial", "length", "shown"),
    [
        (10, False, 4, (b"abcd", b"false")),
        (10, False, None, (b"abcd", b"false")),
        (4, False, None, (b"abcd", b"false")),
        (4, True, 4, (b"abcd", b"false")),
        (3, True, 4, (b"abc", b"true")),
        (2, True, 4, (b"ab", b"true")),
        (2, True, None, (b"ab", b"true")),
        (1, True, None, (b"a", b"true")),
    ],
)
async def test_a_body_is_shown_and_goes_on_whole(most, partial, length, shown, ready):
    carry, seen = seeing(200)
    client = Client(b"ab", b"cd", END, ready=ready)
    run, found, flight = pass_at("/a", carry, Gate((showing(most, partial=partial),)), client, length=length)
    await run()
    assert (found, seen) == ([None], [shown])
    assert (await rest_of(flight), flight.exchange.bytes_received) == ([b"ab", b"cd"], 0)


@pytest.mark.parametrize("length", [4, None])
async def test_a_body_that_is_too_large_is_refused_and_nobody_asked(length):
    carry, seen = seeing()
    client = Client(b"ab", b"cd", END)
    error, exchange = await passed("/a", carry, Gate((showing(3),)), client=client, length=length, expect_continue=True)
    assert (error.status, error.details, seen, exchange.verdict) == (413, "request_payload_too_large", [], None)
    assert (len(client.pieces), client.told) == ((3, []) if length else (1, [100]))


async def test_no_more_is_read_than_is_shown():
    carry, _ = seeing(200)
    client = Client(*[b"ab"] * 100, END)
    await passed("/a", carry, Gate((showing(5, partial=True),)), client=client, length=200)
    assert len(client.pieces) == 98


async def test_who_waits_for_a_word_before_it_sends_gets_it_once():
    carry, seen = seeing(200)
    client = Client(b"ab", END)
    run, _, flight = pass_at("/a", carry, Gate((showing(5),)), client, length=2, expect_continue=True)
    await run()
    assert (client.told, seen, flight.exchange.head.expect_continue) == ([100], [(b"ab", b"false")], False)


async def test_each_authorizer_is_shown_as_much_as_it_is_to_see():
    carry, seen = seeing(200, 200, 403)
    checks = showing(1, partial=True), check("two", "*"), showing(9)
    run, found, flight = pass_at("/a", carry, Gate(checks), Client(b"ab", b"cd", END), length=4)
    await run()
    assert seen == [(b"a", b"true"), (None, None), (b"abcd", b"false")]
    assert (found[0].status, flight.exchange.bytes_received) == (403, 4)


@pytest.mark.parametrize("head", [{"length": 0}, {"length": None, "upgrade": b"websocket"}])
async def test_what_has_no_body_is_asked_about_without(head):
    carry, seen = seeing(200)
    reply, _ = await passed("/a", carry, Gate((showing(1),)), **head)
    assert (reply, seen) == (None, [(None, None)])


@pytest.mark.parametrize(("cause", "status"), [(Cut.IDLE, 408), (Cut.GONE, 0), (Cut.DRAINED, 0)])
async def test_a_body_that_never_comes(cause, status):
    carry, seen = seeing()
    run, found, flight = pass_at("/a", carry, Gate((showing(9),)), Client(b"ab"), length=4)

    async def cut():
        await wait.sleep_until(wait.now() + 0.05)
        flight.cut(cause)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(cut)
    assert (found[0].status, found[0].details, seen) == (status, cause.value, [])


async def test_a_body_that_breaks_off():
    class Broken(Client):
        async def read_body(self):
            raise DownstreamError(400, "DPE", "a bad chunk")

    carry, seen = seeing()
    error, _ = await passed("/a", carry, Gate((showing(9),)), client=Broken(), length=None)
    assert (error.status, error.details, seen) == (400, "a bad chunk", [])


async def test_an_answer_is_kept_whole_and_bounded():
    asker = Asker()
    assert asker.answer is None
    await asker.interim(ResponseHead(103))
    await asker.respond(ResponseHead(200), b"a", end=False)
    await asker.send(b"b")
    assert asker.answer is None
    await asker.finish([(b"x", b"1")])
    assert (asker.answer.body, asker.answer.trailers) == (b"ab", [(b"x", b"1")])
    with pytest.raises(DownstreamError):
        await asker.send(b"x" * MOST)
    assert asker.answer is None
    assert (asker.body_nowait(), await asker.read_body(), asker.is_gone()) == (END, END, False)
    with pytest.raises(AssertionError):
        asker.take_over()


async def test_an_answer_that_is_cut_short_is_none():
    asker = Asker()
    await asker.respond(ResponseHead(200), b"", end=True)
    asker.abort("broken", 502)
    assert asker.answer is None
