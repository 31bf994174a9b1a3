"""Request and response heads, the same whichever protocol they came by.

A head holds only what travels end to end: a codec takes the framing and hop-by-hop fields out when it parses
(RFC 9110 section 7.6.1) and puts its own in when it renders. Names are lower case, values bytes as received without the
white space around them.
"""

from collections.abc import Callable, Iterable

from meshd.core.path_forms import PathForms
from meshd.core.spelling import FOLDS

Headers = list[tuple[bytes, bytes]]


def index(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Each name once; repeated fields joined with a comma, as RFC 9110 section 5.3 allows (cookies with "; ")."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in found:
            found[name] += (b"; " if name == b"cookie" else b",") + value
        else:
            found[name] = value
    return found


class RequestHead:
    """One request: what policies match on is every reading of what is forwarded."""

    __slots__ = (
        "_index",
        "authority",  # bytes: host[:port], host in lower case; from Host, :authority or the absolute form
        "expect_continue",  # bool: the client waits for 100 before it sends its body
        "forms",  # PathForms | None: of a path that is not simply its normal form
        "headers",  # Headers: end-to-end fields only; no host, no content-length
        "keep_alive",  # bool: HTTP/1 only: the client lets the connection go on
        "length",  # int | None: body octets; 0 no body, None not known beforehand
        "method",  # bytes
        "path",  # bytes: the normal form, without the query; b"*" for OPTIONS *, b"" for CONNECT
        "protocol",  # bytes: b"http/1.0", b"http/1.1" or b"h2"
        "query",  # bytes | None: what follows the first "?", None when there is none
        "scheme",  # bytes: b"http" or b"https"
        "upgrade",  # bytes | None: the protocol asked for by Upgrade (RFC 9110 section 7.8)
    )

    def __init__(self, method: bytes, path: bytes, authority: bytes, headers: Headers | None = None) -> None:
        self.method = method
        self.path = path
        self.forms: PathForms | None = None
        self.query: bytes | None = None
        self.authority = authority
        self.scheme = b"http"
        self.headers: Headers = [] if headers is None else headers
        self.length: int | None = 0
        self.protocol = b"http/1.1"
        self.keep_alive = True
        self.expect_continue = False
        self.upgrade: bytes | None = None
        self._index: dict[bytes, bytes] | None = None

    @property
    def target(self) -> bytes:
        """The origin form: path and query, as they go on."""
        path = self.path if self.forms is None else self.forms.forwarded
        return path if self.query is None else path + b"?" + self.query

    @property
    def received_path(self) -> bytes:
        """The path as it came."""
        return self.path if self.forms is None else self.forms.received

    @property
    def forwarded_path(self) -> bytes:
        """The path as it goes on."""
        return self.path if self.forms is None else self.forms.forwarded

    @property
    def readings(self) -> tuple[bytes, ...]:
        """Every way in which an app may read the path; none when there are too many."""
        return (self.path,) if self.forms is None else self.forms.readings

    @property
    def host(self) -> bytes:
        """The authority without its port."""
        return split_authority(self.authority)[0]

    def any_reading(self, test: Callable[[], bool]) -> bool:
        """Whether a test holds with `path` at one of the readings; taken for true where there are too many."""
        if self.forms is None:
            return test()
        return self._any_of(self.forms.readings, test) or not self.forms.readings

    def any_overreading(self, test: Callable[[], bool]) -> bool:
        """Whether a test holds with `path` as an app would read it that decodes twice; as above."""
        if self.forms is None or b"%25" not in self.forms.judged:
            return False
        return self._any_of(self.forms.overread, test) or not self.forms.overread

    def _any_of(self, readings: tuple[bytes, ...], test: Callable[[], bool]) -> bool:
        normal = self.path
        try:
            for reading in readings:
                self.path = reading
                if test():
                    return True
        finally:
            self.path = normal
        return False

    def get(self, name: bytes) -> bytes | None:
        """The value of a field by its lower-case name, repeated fields joined; None when absent."""
        if self._index is None:
            self._index = index(self.headers)
        return self._index.get(name)

    def values(self, name: bytes) -> list[bytes]:
        """The value of each field of that lower-case name, however an app may spell it: for whatever restricts."""
        folded = FOLDS[name]
        return [value for key, value in self.headers if FOLDS[key] == folded]

    def cookie(self, name: bytes) -> bytes | None:
        """The value of a cookie; None when the client sent none of that name."""
        for pair in (self.get(b"cookie") or b"").split(b";"):
            key, equals, value = pair.strip().partition(b"=")
            if equals and key == name:
                return value
        return None

    def changed(self) -> None:
        """Must be called after `headers` was edited, so that `get` sees the edit."""
        self._index = None

    def __repr__(self) -> str:
        return f"<{self.method.decode('latin-1')} {self.authority.decode('latin-1')}{self.target.decode('latin-1')}>"


class ResponseHead:
    """One response, interim or final."""

    __slots__ = (
        "bodiless",  # bool: no body follows whatever `length` says (HEAD, 1xx, 204, 304)
        "headers",  # Headers: end-to-end fields only; no content-length
        "keep_alive",  # bool: HTTP/1 only: the sender lets the connection go on
        "length",  # int | None: declared content-length; None not declared
        "protocol",  # bytes: b"http/1.0", b"http/1.1" or b"h2"
        "status",  # int
        "upgrade",  # bytes | None: with 101, the protocol switched to
    )

    def __init__(self, status: int, headers: Headers | None = None, length: int | None = None) -> None:
        self.status = status
        self.headers: Headers = [] if headers is None else headers
        self.length = length
        self.bodiless = False
        self.protocol = b"http/1.1"
        self.keep_alive = True
        self.upgrade: bytes | None = None

    def get(self, name: bytes) -> bytes | None:
        """The value of a field by its lower-case name, repeated fields joined; None when absent."""
        found = [value for key, value in self.headers if key == name]
        return b",".join(found) if found else None

    def __repr__(self) -> str:
        return f"<{self.status} {self.length if self.length is not None else '?'} octets>"


def split_authority(authority: bytes) -> tuple[bytes, int | None]:
    """Host and port of `host`, `host:port` or `[v6]:port`; the port is None when there is none."""
    host, colon, port = authority.rpartition(b":")
    if not colon or authority.endswith(b"]"):
        return authority, None
    return (host, int(port)) if port.isdigit() else (host if not port else authority, None)
