"""RequestHeaderModifier and ResponseHeaderModifier (Gateway API HTTPHeaderFilter).

What the request or response brought is removed or overwritten first, then fields are added, as in Envoy: a field that
a modifier both removes and sets is there, with the new value. An added field is one more of its name, for some
(Set-Cookie) cannot be joined into one. What a client sends under another spelling of such a name does not reach the
app, which may take one for the other.
"""

from collections.abc import Callable

from meshd.config.route_filters import HeaderModifier
from meshd.core.chain import RequestStep, ResponseStep
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, ResponseHead
from meshd.core.reply import Reply
from meshd.core.spelling import fold_all, without, without_other_spellings
from meshd.http.framing import CONNECTION_FIELDS

# Framing and addressing belong to the codec: policies that edit them are refused at load, and not obeyed here.
PROTECTED = CONNECTION_FIELDS


def request_step(modifier: HeaderModifier) -> RequestStep:
    """Edits the request on its way."""
    edit = _editor(modifier)
    added = tuple(each.name.lower().encode() for each in modifier.add)
    names = {name.lower().encode() for name in (*(each.name for each in modifier.set), *modifier.remove)}
    replaced = fold_all(names - PROTECTED)

    def step(exchange: Exchange) -> Reply | None:
        head = exchange.head
        headers = without(head.headers, replaced) if replaced else head.headers
        if added:
            headers = without_other_spellings(headers, added)
        head.headers = edit(headers)
        head.changed()
        return None

    return step


def response_step(modifier: HeaderModifier) -> ResponseStep:
    """Edits the response on its way."""
    edit = _editor(modifier)

    def step(_exchange: Exchange, head: ResponseHead) -> None:
        head.headers = edit(head.headers)

    return step


def _editor(modifier: HeaderModifier) -> Callable[[Headers], Headers]:
    fixed = [(each.name.lower().encode(), each.value.encode()) for each in modifier.set]
    added = [(each.name.lower().encode(), each.value.encode()) for each in modifier.add]
    dropped = {name.lower().encode() for name in modifier.remove} | {name for name, _ in fixed}
    fixed = [field for field in fixed if field[0] not in PROTECTED]
    added = [field for field in added if field[0] not in PROTECTED]
    dropped -= PROTECTED
    new = fixed + added

    def edit(headers: Headers) -> Headers:
        return [field for field in headers if field[0] not in dropped] + new

    return edit
