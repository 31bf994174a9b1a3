"""A question is carried like any exchange; whatever becomes of it is an answer or none."""

from types import SimpleNamespace

import pytest
from support.authorization import SCOPE, policy, rule
from support.requests import exchange_of

from meshd.config.extension_provider import ExtensionProvider
from meshd.core.chain import Chain
from meshd.core.errors import DownstreamError, UpstreamError
from meshd.core.head import ResponseHead
from meshd.core.reply import Reply
from meshd.filters.authz import index_rules
from meshd.filters.ext_authz import Gate, compile_check
from meshd.http.events import END
from meshd.net import wait
from meshd.net.reactor import Reactor
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight
from meshd.proxy.gate import MOST, Asker, pass_gate


def check(name, path):
    given = {"name": name, "envoyExtAuthzHttp": {"service": "d.test", "port": 80, "timeout": "1s"}}
    custom = policy(rule(None, {"paths": [path]}), action="CUSTOM", provider={"name": name})
    rules = index_rules([custom], "CUSTOM", SCOPE)
    return compile_check(ExtensionProvider.model_validate(given), rules, f"{name}.test:80")


GATE = Gate((check("one", "/a*"), check("two", "*b")))


def pass_at(target, carry, gate=GATE):
    """The reply and the exchange of a request whose questions `carry` answers."""
    flight = Flight(exchange_of(target=target), SimpleNamespace(is_gone=lambda: False, abort=lambda reason: None))
    found = []

    async def body():
        found.append(await pass_gate(flight, gate, lambda child, cluster: carry(flight, child, cluster)))

    async def run():
        await wait.background.run(body, Reactor())

    return run, found, flight.exchange


async def passed(target, carry, gate=GATE):
    run, found, exchange = pass_at(target, carry, gate)
    await run()
    return found[0], exchange


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


async def test_an_answer_is_kept_whole_and_bounded():
    asker = Asker()
    assert asker.answer is None
    await asker.interim(ResponseHead(103))
    await asker.respond(ResponseHead(200), b"a", end=False)
    await asker.send(b"b")
    assert asker.answer is None
    await asker.finish([])
    assert asker.answer.body == b"ab"
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
