"""RequestRedirect: an answer that sends the client elsewhere (Gateway API HTTPRequestRedirectFilter)."""

from meshd.config.route_filters import RequestRedirect
from meshd.core.chain import RequestStep
from meshd.core.exchange import Exchange
from meshd.core.head import split_authority
from meshd.core.reply import Reply
from meshd.filters.paths import replaced_path

WELL_KNOWN_PORTS = {b"http": 80, b"https": 443}


def request_step(redirect: RequestRedirect, matched: bytes) -> RequestStep:
    """Replies; what the document leaves out stays as the request had it."""

    def step(exchange: Exchange) -> Reply | None:
        head = exchange.head
        host, port = split_authority(head.authority)
        scheme = redirect.scheme.encode() if redirect.scheme else head.scheme
        if redirect.port is not None:
            port = redirect.port
        elif redirect.scheme is not None:
            port = WELL_KNOWN_PORTS[scheme]
        if redirect.hostname is not None:
            host = redirect.hostname.encode()
        path = head.forwarded_path if redirect.path is None else replaced_path(redirect.path, head, matched)[1]
        where = b"%b://%b" % (scheme, host)
        if port is not None and port != WELL_KNOWN_PORTS.get(scheme):
            where += b":%d" % port
        where += path if head.query is None else path + b"?" + head.query
        return Reply(redirect.status_code, details="direct_response", headers=((b"location", where),))

    return step
