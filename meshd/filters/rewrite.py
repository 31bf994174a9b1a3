"""URLRewrite: another host or path on the way to the backend (Gateway API HTTPURLRewriteFilter).

What the client asked for is noted on the exchange: its record shows the request as it was forwarded.
"""

from meshd.config.route_filters import UrlRewrite
from meshd.core.chain import RequestStep
from meshd.core.exchange import Exchange
from meshd.core.path_forms import PathForms
from meshd.core.reply import Reply
from meshd.filters.paths import replaced_path


def request_step(rewrite: UrlRewrite, matched: bytes) -> RequestStep:
    """Edits authority and path; `matched` is the prefix that the rule matched."""
    hostname = rewrite.hostname.encode() if rewrite.hostname else None

    def step(exchange: Exchange) -> Reply | None:
        head = exchange.head
        if hostname is not None:
            exchange.note("original_authority", head.authority.decode("utf-8", "backslashreplace"))
            head.authority = hostname
        if rewrite.path is not None:
            exchange.note("original_path", head.received_path.decode("utf-8", "backslashreplace"))
            head.path, written = replaced_path(rewrite.path, head, matched)
            head.forms = PathForms(written, written, written) if written != head.path else None
        return None

    return step
