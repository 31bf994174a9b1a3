"""What can fail, as exceptions. A verdict (denied, limited, no route) is not a failure: that is a `Reply`.

An error carries five attributes to branch on and nothing else: `side`, `status`, `retry`, `flag`, `proxy_error`.
`details` is for people. Foreign exceptions are translated once, at the border where they arise, with `from`.
"""

from enum import Enum, auto
from typing import Final

from meshd.core import flags


class Side(Enum):
    """Who broke it."""

    DOWNSTREAM = auto()
    UPSTREAM = auto()
    LOCAL = auto()


class Resend(Enum):
    """When the same request may go out again after this error."""

    NEVER = auto()
    MOVED = auto()  # its connection was going away and did not take it up: the same, and nobody's fault
    UNSENT = auto()  # not one octet of it reached the app: safe for every method
    REUSED = auto()  # the pooled connection turned out dead before any response octet came
    IF_SAFE = auto()  # it may have been executed: only a request that is safe to repeat


UNPROCESSED: Final = frozenset({Resend.UNSENT, Resend.MOVED})  # nothing of the request reached the app


class ProxyError(Exception):
    """The root of everything that can go wrong with one exchange."""

    side = Side.LOCAL

    def __init__(
        self,
        status: int,
        flag: str,
        details: str,
        *,
        retry: Resend = Resend.NEVER,
        proxy_error: str = "",
        told: str = "",
    ) -> None:
        super().__init__(details)
        self.status = status
        self.flag = flag
        self.details = details
        self.retry = retry
        self.proxy_error = proxy_error  # RFC 9209's type of the cause; empty where the flag tells it (`rescue.py`)
        self.alert = ""  # of TLS, that the peer sent
        self.told = told  # the reply's body for who may know more than strangers do; empty for the usual one

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status} {self.flag} {self.details!r} retry={self.retry.name}>"


class UpstreamError(ProxyError):
    """The endpoint could not be reached, broke off, or spoke nonsense."""

    side = Side.UPSTREAM


class DownstreamError(ProxyError):
    """The client went away or stalled; nobody is left to answer (status 0) or only to be told why."""

    side = Side.DOWNSTREAM


class ProtocolError(ProxyError):
    """Bytes that are not the protocol. The codec that raises it does not know its side; its driver does.

    `proxy_error` is what it is called when a response breaks the rule; a request is always at fault as a whole.
    """

    def __init__(self, status: int, details: str, *, proxy_error: str = "") -> None:
        super().__init__(status, flags.DOWNSTREAM_PROTOCOL, details, proxy_error=proxy_error)

    def of_response(self) -> "ProtocolError":
        """The same broken rule, told of a response."""
        return ProtocolError(502, self.details, proxy_error=self.proxy_error)


class StreamBroken(Exception):
    """The socket or TLS session under a stream is of no more use; whoever waits on it says whose fault that is.

    `unsent` is true when it broke before one octet of the data at hand was written. `alert` is the TLS alert that ended
    it, in the words of RFC 8446; empty for none.
    """

    def __init__(self, reason: str, *, unsent: bool = False, alert: str = "") -> None:
        super().__init__(reason)
        self.unsent = unsent
        self.alert = alert
