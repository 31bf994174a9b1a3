"""URLRewrite: another host or path on the way to the backend (Gateway API HTTPURLRewriteFilter).

What the client asked for is noted on the exchange: its record shows the request as it was forwarded.
"""

from meshd.config.route_filters import UrlRewrite
from meshd.core.chain import RequestStep
from meshd.core.exchange import Exchange
from meshd.core.reply import Reply
from meshd.filters.paths import replace_path


def request_step(rewrite: UrlRewrite, matched: bytes) -> RequestStep:
    """Edits authority and path; `matched` is the prefix that the rule matched."""
    hostname = rewrite.hostname.encode() if rewrite.hostname else None

    def step(exchange: Exchange) -> Reply | None:
        head = exchange.head
        if hostname is not None:
            exchange.note("original_authority", head.authority.decode("utf-8", "backslashreplace"))
            head.authority = hostname
        if rewrite.path is not None:
            exchange.note("original_path", head.path.decode("utf-8", "backslashreplace"))
            head.path = replace_path(rewrite.path, head.path, matched)
        return None

    return step
