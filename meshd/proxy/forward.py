"""One exchange from its head to its end. Read this first, with `core/exchange.py` and one filter; then `trip.py`.

`carry` is the whole story: admit (route and policies, pure), try endpoints until one answers or none may be asked
again (`trip.py`), relay the response (`relay.py`). Whatever fails on the way is an exception with four attributes, and
becomes a reply in `rescue.py`. The protocols on either side are behind `Downstream` and the upstream connection.
"""

import logging
from functools import partial

from meshd.core import flags
from meshd.core.errors import DownstreamError, ProxyError
from meshd.core.reply import Reply
from meshd.core.route import Target
from meshd.net import wait
from meshd.proxy.admit import admit
from meshd.proxy.flight import Flight
from meshd.proxy.gate import pass_gate
from meshd.proxy.rescue import CRASHED, rescue
from meshd.proxy.trip import Trip
from meshd.snapshot import Plan

log = logging.getLogger(__name__)


async def carry(flight: Flight, plan: Plan) -> Reply | None:
    """Forward the exchange; returns the reply that the client still has to get, None when it has its response.

    Raises nothing: a client that left shows in `exchange.status`, a bug of ours becomes a 500 and a traceback.
    """
    exchange = flight.exchange
    try:
        if plan.gate is not None and exchange.request_id and exchange.refusal is None:
            refusal = await pass_gate(flight, plan.gate, partial(_carry_question, plan))
            if refusal is not None:
                return refusal
        reply, target, cluster = admit(exchange, plan)
        if exchange.delay:
            await _hold(flight, wait.now() + exchange.delay)
        if reply is None:
            assert exchange.route is not None and cluster is not None and target is not None  # noqa: PT018  # admit promises it
            await Trip(flight, plan, target, cluster).run()
            return None
    except ProxyError as error:
        return _fail(flight, error)
    except Exception:
        log.exception("an exchange crashed: %r", exchange, extra={"kind": ""})
        return _fail(flight, ProxyError(500, flags.INTERNAL, CRASHED.details))
    return reply


async def _carry_question(plan: Plan, flight: Flight, cluster: str) -> None:
    await Trip(flight, plan, Target(cluster), plan.clusters[cluster]).run()


async def _hold(flight: Flight, until: float) -> None:
    """Wait out an injected delay, but not for a client that has left, nor past the drain."""
    await flight.rest(until)
    if flight.cause is not None:
        flight.down.abort(flight.cause.value, 503)
        raise DownstreamError(0, flags.DOWNSTREAM_GONE, flight.cause.value)


def _fail(flight: Flight, error: ProxyError) -> Reply | None:
    """What is left to do about an error: a reply, or nothing when the response has begun or nobody is there."""
    exchange = flight.exchange
    exchange.flag(error.flag)
    exchange.details = error.details
    if isinstance(error, DownstreamError) and not error.status:
        return None
    if exchange.responded:
        flight.down.abort(error.details, error.status)
        return None
    return rescue(error, exchange.attempts)
