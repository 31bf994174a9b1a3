"""Requests as the codec hands them on: for tests of what decides about them."""

from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead
from meshd.core.peer import NOBODY


def request(target="/", method="GET", authority="a.test", headers=()):
    """A request head; `target` is a path, with or without a query, in its normal form already."""
    path, mark, query = target.encode().partition(b"?")
    fields = [(name.lower().encode(), value.encode()) for name, value in headers]
    head = RequestHead(method.encode(), path, authority.encode(), fields)
    head.query = query if mark else None
    return head


def exchange_of(head=None, peer=NOBODY, **given):
    """An exchange that has just begun."""
    return Exchange(head or request(**given), peer, 0.0)
