"""Header modifiers: what is set replaces, what is added joins, what is removed is gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import exchange_of

from meshd.config.route_filters import HeaderModifier
from meshd.core.head import ResponseHead
from meshd.filters.headers import PROTECTED, request_step, response_step
from meshd.http.framing import CONNECTION_FIELDS

names = st.sampled_from(["x-a", "X-B", "x-c"])
edits = st.lists(st.tuples(names, st.sampled_from(["1", "2"])), max_size=3, unique_by=lambda edit: edit[0])
headers = st.lists(st.tuples(names, st.sampled_from(["8", "9"])), max_size=5)


def modifier(put=(), add=(), remove=()):
    def fields(each):
        return [{"name": name, "value": value} for name, value in each]

    return HeaderModifier.model_validate({"set": fields(put), "add": fields(add), "remove": list(remove)})


def edited(sent, **given_edits):
    exchange = exchange_of(headers=sent)
    assert request_step(modifier(**given_edits))(exchange) is None
    return exchange.head


@given(headers, edits, edits, st.lists(names, max_size=2, unique=True))
def test_each_name_has_the_values_that_the_edits_leave(sent, put, add, remove):
    """Per name: what came unless removed or overwritten, then what is set, then what is added."""
    head = edited(sent, put=put, add=add, remove=remove)
    for name in ("x-a", "x-b", "x-c"):
        gone = name in {each.lower() for each in remove} | {each.lower() for each, _ in put}
        wanted = [] if gone else [value for each, value in sent if each.lower() == name]
        wanted += [value for each, value in [*put, *add] if each.lower() == name]
        found = [value.decode() for each, value in head.headers if each == name.encode()]
        assert found == wanted
        assert head.get(name.encode()) == (",".join(wanted).encode() if wanted else None)


@given(headers, edits, edits)
def test_requests_and_responses_are_edited_alike(sent, put, add):
    head = ResponseHead(200, [(name.lower().encode(), value.encode()) for name, value in sent])
    response_step(modifier(put=put, add=add))(exchange_of(), head)
    assert head.headers == edited(sent, put=put, add=add).headers


def test_policies_see_the_edit():
    exchange = exchange_of(headers=[("x-a", "1")])
    assert exchange.head.get(b"x-a") == b"1"  # and so remembered
    request_step(modifier(put=[("X-A", "2")]))(exchange)
    assert exchange.head.get(b"x-a") == b"2"


def test_cookies_of_a_response_stay_apart():
    head = ResponseHead(200, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
    response_step(modifier(add=[("Set-Cookie", "c=3")]))(exchange_of(), head)
    assert head.headers == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"set-cookie", b"c=3")]


def test_an_added_value_joins_repeated_ones_once():
    assert edited([("x-a", "1"), ("x-a", "2")], add=[("x-a", "3")]).get(b"x-a") == b"1,2,3"


@pytest.mark.parametrize("name", sorted(name.decode() for name in CONNECTION_FIELDS))
def test_what_belongs_to_the_connection_is_left_alone(name):
    assert name.encode() in PROTECTED
    head = edited([(name, "1")], put=[(name, "2")], add=[(name, "3")], remove=[name])
    assert head.headers == [(name.encode(), b"1")]


@pytest.mark.parametrize("spelling", ["x_user", "x.user", "X_User"])
@pytest.mark.parametrize("edits", [{"put": [("x-user", "1")]}, {"add": [("x-user", "1")]}, {"remove": ["x-user"]}])
def test_another_spelling_got_past_a_modifier(spelling, edits):
    """An app that folds names took it for the field that the route sets, or takes out."""
    head = edited([(spelling, "root"), ("x_users", "2")], **edits)
    assert dict(head.headers).get(b"x-user", b"1") == b"1"
    assert [name for name, _ in head.headers if name != b"x-user"] == [b"x_users"]
