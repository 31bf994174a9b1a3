"""The nouns are slots only: a misspelt field is an error, and an exchange stays small."""

import pytest
from support.requests import exchange_of

from meshd.core.asked import Asked
from meshd.core.cells import Cells, Histogram
from meshd.core.chain import EMPTY_CHAIN
from meshd.core.decision import ALLOWED_BY_DEFAULT
from meshd.core.endpoint import Endpoint
from meshd.core.exchange import Attempt
from meshd.core.head import RequestHead, ResponseHead
from meshd.core.peer import NOBODY
from meshd.core.reply import Reply
from meshd.core.route import NO_RETRY, Route, Target
from meshd.core.token import Token
from meshd.core.trace import TraceContext

ENDPOINT = Endpoint("10.0.0.1", 80)
NOUNS = [
    Asked(),
    Cells(),
    Histogram(),
    EMPTY_CHAIN,
    ALLOWED_BY_DEFAULT,
    ENDPOINT,
    Attempt(ENDPOINT, 0.0),
    exchange_of(),
    RequestHead(b"GET", b"/", b"a.test"),
    ResponseHead(200),
    NOBODY,
    Reply(200),
    NO_RETRY,
    Route("a"),
    Target("a"),
    Token("a", "", {}, b""),
    TraceContext(1, 2),
]


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: type(noun).__name__)
def test_it_has_no_room_for_a_field_that_was_not_planned(noun):
    assert not hasattr(noun, "__dict__")
    slots = [name for kind in type(noun).__mro__ for name in getattr(kind, "__slots__", ())]
    assert all(hasattr(noun, name) for name in slots), "a slot that __init__ forgot"
