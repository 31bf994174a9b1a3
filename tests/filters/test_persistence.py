"""Session persistence: what a token says, and what becomes of one that says nothing any more."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import exchange_of

from meshd.config.route_parts import SessionPersistence
from meshd.core.asked import Asked
from meshd.core.endpoint import Endpoint
from meshd.core.exchange import Attempt
from meshd.core.head import ResponseHead
from meshd.filters.persistence import digest, session_chain

HEADER = {"type": "Header", "header": {"name": "X-Session"}}
COOKIE = {"cookie": {"name": "cart"}}


class World:
    """Two clusters, and a clock."""

    def __init__(self, document=HEADER):
        self.now = 1000.0
        self.clusters = {name: (Endpoint(name, 1), Endpoint(name, 2)) for name in ("10.0.0.1", "10.0.0.2")}
        chain = session_chain(
            SessionPersistence.model_validate(document),
            "HTTPRoute/shop/web/0",
            tuple(self.clusters),
            self.clusters.__getitem__,
            lambda: self.now,
        )
        (self.on_request,), (self.on_response,) = chain.on_request, chain.on_response

    def ask(self, token=None, cookie=None):
        """An exchange that has been looked at."""
        headers = [("x-session", token)] if token is not None else []
        headers += [("cookie", cookie)] if cookie is not None else []
        exchange = exchange_of(headers=headers)
        assert self.on_request(exchange) is None
        return exchange

    def answer(self, exchange, cluster, endpoint):
        """The fields of a response that came from there."""
        exchange.cluster = cluster
        exchange.attempts.append(Attempt(endpoint, 0.0))
        head = ResponseHead(200, [(b"x-a", b"1")])
        self.on_response(exchange, head)
        return {name.decode(): value.decode() for name, value in head.headers if name != b"x-a"}

    def token(self, cluster, endpoint):
        return self.answer(self.ask(), cluster, endpoint)["x-session"]


def session(exchange):
    return (exchange.asked.cluster, exchange.asked.endpoint) if exchange.asked is not None else None


@pytest.mark.parametrize("cluster", ["10.0.0.1", "10.0.0.2"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_token_leads_back_to_side_and_endpoint(cluster, place):
    world = World()
    endpoint = world.clusters[cluster][place]
    exchange = world.ask(world.token(cluster, endpoint))
    assert session(exchange) == (cluster, endpoint)
    assert world.answer(exchange, cluster, endpoint) == {}


def test_tokens_show_no_addresses_and_are_the_same_for_every_sidecar():
    token = World().token("10.0.0.1", Endpoint("10.0.0.1", 1))
    assert re.fullmatch(r"[A-Za-z0-9_-]{16}", token)
    assert token == World().token("10.0.0.1", Endpoint("10.0.0.1", 1))


def test_the_same_endpoint_on_two_sides_of_a_split_has_two_tokens():
    endpoint = Endpoint("10.0.0.1", 1)
    assert digest("a", endpoint) != digest("b", endpoint)


def test_an_answer_from_elsewhere_moves_the_session():
    world = World()
    first, second = world.clusters["10.0.0.1"]
    exchange = world.ask(world.token("10.0.0.1", first))
    assert world.answer(exchange, "10.0.0.1", second) == {"x-session": world.token("10.0.0.1", second)}


def test_a_session_at_an_endpoint_that_is_gone_begins_anew():
    world = World()
    gone, stays = world.clusters["10.0.0.1"]
    token, other = world.token("10.0.0.1", gone), world.token("10.0.0.1", stays)
    world.clusters["10.0.0.1"] = (stays,)
    assert session(world.ask(token)) is None
    assert session(world.ask(other)) == ("10.0.0.1", stays)


def test_a_session_ends_by_the_clock():
    world = World({**HEADER, "absoluteTimeout": "1m"})
    endpoint = world.clusters["10.0.0.1"][0]
    token = world.token("10.0.0.1", endpoint)
    world.now += 59
    assert session(world.ask(token)) == ("10.0.0.1", endpoint)
    world.now += 1
    assert session(world.ask(token)) is None
    assert session(world.ask(token.partition(".")[0])) is None, "a token that does not say when it ends"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (COOKIE, r"cart=[\w-]{16}; Path=/; HttpOnly"),
        ({"cookie": {"name": "a", "path": "/shop"}}, r"a=[\w-]{16}; Path=/shop; HttpOnly"),
        (
            {"cookie": {"name": "a", "lifetimeType": "Permanent"}, "absoluteTimeout": "1h"},
            r"a=[\w-]{16}\.4600; Path=/; HttpOnly; Max-Age=3600",
        ),
        ({"sessionName": "a"}, r"a=[\w-]{16}; Path=/; HttpOnly"),
        (
            {"sessionName": "a", "cookieConfig": {"lifetimeType": "Permanent"}, "absoluteTimeout": "1h"},
            r"a=[\w-]{16}\.4600; Path=/; HttpOnly; Max-Age=3600",
        ),
        ({"cookie": {}, "absoluteTimeout": "1h"}, r"meshd-session-[0-9a-f]{8}=[\w-]{16}\.4600; Path=/; HttpOnly"),
    ],
)
def test_cookies_as_they_are_set_and_as_they_come_back(document, expected):
    world = World(document)
    endpoint = world.clusters["10.0.0.2"][1]
    fields = world.answer(world.ask(cookie="other=1"), "10.0.0.2", endpoint)
    assert re.fullmatch(expected, fields["set-cookie"])
    exchange = world.ask(cookie="other=1; " + fields["set-cookie"].partition(";")[0])
    assert session(exchange) == ("10.0.0.2", endpoint)


def test_a_session_of_a_header_that_session_name_names():
    world = World({"type": "Header", "sessionName": "X-Session"})
    endpoint = world.clusters["10.0.0.2"][1]
    fields = world.answer(world.ask(), "10.0.0.2", endpoint)
    assert session(world.ask(fields["x-session"])) == ("10.0.0.2", endpoint)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_what_nobody_handed_out_is_no_session(token):
    for lifetime in ({}, {"absoluteTimeout": "1m"}):
        assert session(World({**HEADER, **lifetime}).ask(token)) is None


def test_what_others_asked_of_the_forwarder_stays_asked():
    world = World()
    endpoint = world.clusters["10.0.0.1"][0]
    exchange = exchange_of(headers=[("x-session", world.token("10.0.0.1", endpoint))])
    exchange.asked = asked = Asked()
    assert world.on_request(exchange) is None
    assert exchange.asked is asked
    assert session(exchange) == ("10.0.0.1", endpoint)
