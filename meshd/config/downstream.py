"""What clients may take of a sidecar: part of the Proxy document."""

# mypy: disable-error-code=explicit-any

from typing import Annotated, Final

from pydantic import Field

from meshd.config.model import Model
from meshd.config.scalars import LongDuration

MAX_CONNECTIONS: Final = 1_000_000


class Downstream(Model):
    """Bounds on the connections of clients, of all listeners together, each worker by itself.

    `maxConnections`: without it two fifths of the file descriptors there are (each may need one to the app as well),
    10000 at most. When there are too many, those give way that have asked for nothing yet, then those idle longest,
    then those that take nothing of their response; where all are served, new ones are answered 503.
    `handshakeTimeout` and `requestHeadersTimeout` are for a TLS handshake and the head of a request, `idleTimeout` for
    the time between two requests.
    """

    max_connections: Annotated[int | None, Field(ge=1, le=MAX_CONNECTIONS)] = None
    handshake_timeout: LongDuration = 10.0
    request_headers_timeout: LongDuration = 10.0
    idle_timeout: LongDuration = 3600.0
