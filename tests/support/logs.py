"""What a sidecar would log of a request: the engine's decision, through record and summary."""

import json

from meshd.core.errors import ProtocolError
from meshd.explain.question import Question
from meshd.net.tls import Mode
from meshd.proxy.admit import admit
from meshd.telemetry.describe import summarise
from meshd.telemetry.record import decode, record


def log_line(world, question: Question):
    """The access log's object; None for a request that never becomes an exchange."""
    plan = world.plan(question)
    if plan.inbound and plan.mode is Mode.STRICT and not question.caller:
        return None
    try:
        listener, exchange = question.begin(plan)
    except ProtocolError:
        return None
    reply, _target, _cluster = admit(exchange, plan)
    exchange.status = 200
    if reply is not None:
        listener.render(exchange, reply)
        exchange.status = reply.status
    exchange.ended = exchange.started + 0.001
    return json.loads(json.dumps(summarise(decode(record(exchange, 1e9)))))
