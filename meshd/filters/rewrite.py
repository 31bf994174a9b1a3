"""URLRewrite: another host or path on the way to the backend (Gateway API HTTPURLRewriteFilter)."""

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
            head.authority = hostname
        if rewrite.path is not None:
            head.path = replace_path(rewrite.path, head.path, matched)
        return None

    return step
