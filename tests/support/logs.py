"""What a sidecar would log of a request: the engine's decision, through record and summary."""

import json

from meshd.core.errors import ProtocolError
from meshd.core.head import ResponseHead
from meshd.explain.question import MOMENT, Question
from meshd.filters.ext_authz import Answer
from meshd.net.tls import Mode
from meshd.proxy.admit import admit
from meshd.telemetry.describe import summarise
from meshd.telemetry.record import decode, record


def pass_gate(exchange, gate, said):
    """What the gate makes of it, with authorizers that all answer the same."""
    for step in gate.before.on_request:
        if (reply := step(exchange)) is not None:
            return reply
    for check in gate.checks:
        entry = check.asking.rules.find(exchange)
        if entry is not None and (reply := check.judge(exchange, entry, Answer(ResponseHead(said), b""))) is not None:
            return reply
    return None


def log_line(world, question: Question, at=MOMENT, said=200):
    """The access log's object; None for a request that never becomes an exchange. `said`: the status that authorizers
    outside answer with."""
    plan = world.plan(question)
    if plan.inbound and plan.mode is Mode.STRICT and not question.caller:
        return None
    try:
        world._chance.share = question.draw
        listener, exchange = question.begin(plan, at)
    except ProtocolError:
        return None
    reply = pass_gate(exchange, plan.gate, said) if plan.gate is not None else None
    if reply is None:
        reply, _target, _cluster = admit(exchange, plan)
    exchange.status = 200
    if reply is not None:
        listener.render(exchange, reply)
        exchange.status = reply.status
        exchange.bytes_sent = len(reply.body)
    exchange.ended = exchange.started + 0.001
    return json.loads(json.dumps(summarise(decode(record(exchange, 1e9)))))
