"""Proxy-Status as it is read: what the sidecar behind a connection says of an answer (RFC 9209).

A member of the list speaks for one proxy, the last for the nearest. Rule: a sidecar in front of an app adds a member of
its own to whatever list the app sends, so that the last member is always the sidecar's word and an app cannot speak for
it. `unprocessed` is a parameter of ours, which others are to ignore (section 2.1): nothing of the request reached the
app, which is what REFUSED_STREAM says where there is no answer (RFC 9113 section 8.7).
"""

import re
from typing import Final, NamedTuple

from meshd.core.head import ResponseHead
from meshd.http.render import UNPROCESSED, quote

PROXY_STATUS: Final = b"proxy-status"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')  # of structured fields; whatever it says, it is no parameter
_ERROR = re.compile(rb";[ ]*error=")


class OwnAnswer(NamedTuple):
    """A proxy made this answer itself."""

    response: ResponseHead
    error: str  # the type
    is_unprocessed: bool


def own_answer(response: ResponseHead) -> OwnAnswer | None:
    """What the nearest proxy says of itself; None when it only passed the answer on."""
    value = response.get(PROXY_STATUS)
    if value is None:
        return None
    plain = _STRING.sub(b"", value)  # names and details may hold anything, separators too
    parameters = [part.strip() for part in plain.rpartition(b",")[2].split(b";")[1:]]
    for parameter in parameters:
        name, _, error = parameter.partition(b"=")
        if name == b"error":
            return OwnAnswer(response, error.decode("ascii", "replace"), UNPROCESSED in parameters)
    return None


def disown(response: ResponseHead, name: bytes) -> None:
    """Whatever an app says of proxies, its answer is not that of the proxy `name`, which only passes it on."""
    value = response.get(PROXY_STATUS)
    if value is None:
        return
    member = b"%b; received-status=%d" % (quote(name), response.status)
    if b'"' not in _STRING.sub(b"", value):  # else it is no list, and would swallow what comes behind it
        member = value + b", " + member
    response.headers = [field for field in response.headers if field[0] != PROXY_STATUS]
    response.headers.append((PROXY_STATUS, member))


def is_by_proxy(value: str) -> bool:
    """Whether a proxy made the response itself, because it could not or would not forward the request: some member
    has an error."""
    return _ERROR.search(_STRING.sub(b"", value.encode("latin-1", "replace"))) is not None
