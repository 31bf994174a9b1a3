"""HTTP to a collector that may answer too much, too slowly or for ever: what its reply may cost is bounded.

A collector's reply is a few octets; ours to read are `REPLY` at most, and the whole of a request has one time limit, so
that a collector which drips holds neither memory nor the exporter's thread.
"""

import socket
from typing import Final
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from meshd.telemetry.cutoff import Cutoff

REPLY: Final = 65_536  # octets of a reply that are read
REDIRECTS: Final = 3  # that are followed


class BoundedSession(requests.Session):
    """A session whose requests end after `timeout` seconds, whatever the other side does. One thread at a time."""

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self.trust_env = False
        self.max_redirects = REDIRECTS
        self._timeout = timeout
        self._cutoff: Cutoff | None = None  # of the request under way
        self._open: WeakSet[HTTPConnection] = WeakSet()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(self))

    def send(self, request: requests.PreparedRequest, **options: object) -> requests.Response:
        """The reply, its body read as far as it may be. Raises what `requests` raises."""
        options["stream"] = True
        if self._cutoff is not None:
            return self._send(self._cutoff, request, options)  # where it was sent on to: within the time of the first
        with Cutoff(self._timeout) as cutoff:
            self._cutoff = cutoff
            try:
                for connection in self._open:
                    if (sock := getattr(connection, "sock", None)) is not None:
                        cutoff.watch(sock)
                return self._send(cutoff, request, options)
            finally:
                self._cutoff = None

    def _send(self, cutoff: Cutoff, request: requests.PreparedRequest, options: dict[str, object]) -> requests.Response:
        if cutoff.is_cut:
            raise requests.Timeout("being sent on took too long")
        response = super().send(request, **options)
        try:
            response._content = response.raw.read(REPLY, decode_content=True)  # noqa: SLF001  # what `content` gives
        except HTTPError as error:
            raise requests.ConnectionError(error) from error
        finally:
            response.close()  # a reply that goes on is not waited for
        if cutoff.is_cut:
            raise requests.Timeout("the reply took too long")  # what there is of it may look like a whole one
        return response

    def opened(self, connection: HTTPConnection, sock: socket.socket) -> None:
        """A connection was made: it ends with the request under way, and with those to come."""
        self._open.add(connection)
        if self._cutoff is not None:
            self._cutoff.watch(sock)


class _Adapter(HTTPAdapter):
    """Has every connection of a session told of."""

    def __init__(self, session: BoundedSession) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                sock = super()._new_conn()
                session.opened(self, sock)
                return sock

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                sock = super()._new_conn()
                session.opened(self, sock)
                return sock

        plain = type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": Plain})
        secure = type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": Secure})
        self.poolmanager.pool_classes_by_scheme = {"http": plain, "https": secure}
