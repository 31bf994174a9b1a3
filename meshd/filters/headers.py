"""RequestHeaderModifier and ResponseHeaderModifier: set, then add, then remove (Gateway API HTTPHeaderFilter)."""

from collections.abc import Callable

from meshd.config.route_filters import HeaderModifier
from meshd.core.chain import RequestStep, ResponseStep
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, ResponseHead
from meshd.core.reply import Reply

# Framing and addressing belong to the codec: a policy that edits them is not obeyed.
PROTECTED = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"host", b"upgrade", b"te", b"keep-alive")
)


def request_step(modifier: HeaderModifier) -> RequestStep:
    """Edits the request on its way."""
    edit = _editor(modifier)

    def step(exchange: Exchange) -> Reply | None:
        head = exchange.head
        head.headers = edit(head.headers)
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
    joined = dict(added)

    def edit(headers: Headers) -> Headers:
        kept = [field for field in headers if field[0] not in dropped] + fixed
        if not joined:
            return kept
        present = {name for name, _ in kept}
        merged = [(name, value + b"," + joined[name]) if name in joined else (name, value) for name, value in kept]
        return merged + [field for field in added if field[0] not in present]

    return edit
