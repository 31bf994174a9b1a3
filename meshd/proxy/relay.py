"""A response on its way down: what is here already in one write with the head, the rest as it comes."""

from typing import Final

from meshd.core import flags, proxy_errors
from meshd.core.asked import Asked
from meshd.core.errors import DownstreamError, ProxyError
from meshd.core.head import ResponseHead
from meshd.http.events import End
from meshd.net import wait
from meshd.proxy import tunnel
from meshd.proxy.cut import Cut, error_of
from meshd.proxy.flight import Flight
from meshd.upstream.connection import Carrier

RESPONSE_TOO_LARGE: Final = "response_payload_too_large"


async def relay(flight: Flight, response: ResponseHead) -> float:
    """Pass on the response that the flight's connection has begun, to its end; when the upstream's part of that was
    over. Raises `ProxyError`."""
    exchange, down, connection = flight.exchange, flight.down, flight.connection
    assert connection is not None
    if response.status == 101 or (exchange.head.method == b"CONNECT" and response.status < 300):
        await tunnel.switch(flight, response)
        return exchange.ended or wait.now()
    body, end = connection.take_ready()
    if exchange.asked is not None:
        declared = 0 if response.bodiless else response.length or 0
        check_size(max(len(body), declared), exchange.asked)
    whole = end is not None and not end.trailers
    exchange.responded = flight.writing_since = wait.now()
    try:
        await down.respond(response, body, end=whole)
        flight.writing_since = 0.0
        exchange.bytes_sent = len(body)
        over = exchange.responded if whole else await _relay_rest(flight, connection, end)
    except DownstreamError as error:
        if flight.cause is Cut.SLOW:  # it has not left: it was ended because it did not read
            raise error_of(Cut.SLOW) from error
        raise
    exchange.ended = wait.now()
    return over


async def _relay_rest(flight: Flight, connection: Carrier, end: End | None) -> float:
    down, exchange = flight.down, flight.exchange
    while True:
        piece = end or await connection.read_body()
        now = wait.now()
        flight.touch(now)
        if isinstance(piece, End):
            await down.finish(piece.trailers)
            return now
        exchange.bytes_sent += len(piece)
        if exchange.asked is not None:
            check_size(exchange.bytes_sent, exchange.asked)
        flight.writing_since = now
        await down.send(piece)
        flight.writing_since = 0.0


def check_size(octets: int, asked: Asked) -> None:
    """Raises when a response body is larger than policies allow: nobody's fault but the rule's."""
    if octets > asked.max_response:
        kind = proxy_errors.HTTP_RESPONSE_BODY_SIZE
        raise ProxyError(502, flags.UPSTREAM_PROTOCOL, RESPONSE_TOO_LARGE, proxy_error=kind)
