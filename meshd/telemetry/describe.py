"""A record in words: the JSON that the access log writes and that `explain` and the admin API answer with.

Field names are those of Istio's JSON access log, so that pipelines carry over; what it has no name for is ours.
"""

from datetime import UTC, datetime
from typing import TypeAlias

from meshd.core.decision import Verdict
from meshd.telemetry.record import AttemptRecord, Record
from meshd.telemetry.redact import redact_query

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def summarise(record: Record) -> dict[str, Json]:
    """One line's worth."""
    peer, trace = record.peer, record.trace
    line: dict[str, Json] = {
        "start_time": timestamp(record.started),
        "direction": "inbound" if record.inbound else "outbound",
        "method": record.method,
        "path": target(record),
        "protocol": f"HTTP/{record.protocol}",
        "authority": record.authority,
        "response_code": record.status,
        "response_flags": record.flags or "-",
        "response_code_details": record.details or None,
        "bytes_received": record.received,
        "bytes_sent": record.sent,
        "duration": milliseconds(record.duration),
        "upstream_service_time": milliseconds(record.upstream_time),
        "upstream_host": record.attempts[-1].host if record.attempts else None,
        "upstream_cluster": record.cluster or None,
        "route_name": record.route or None,
        "attempts": len(record.attempts),
        "user_agent": record.user_agent or None,
        "x_forwarded_for": record.forwarded_for or None,
        "request_id": record.request_id or None,
        "requested_server_name": peer.server_name or None,
        "downstream_remote_address": f"{peer.address}:{peer.port}",
        "downstream_local_address": f"{peer.local_address}:{peer.local_port}" if peer.local_address else None,
        "downstream_peer": peer.spiffe_id or None,
        "tls_version": peer.tls or None,
        "tls_resumed": peer.resumed if peer.tls else None,
        "policy": record.verdict.policy or None if record.verdict is not None else None,
        "policy_rule": record.verdict.rule if record.verdict is not None and record.verdict.rule >= 0 else None,
        "trace_id": f"{trace.trace_id:032x}" if trace is not None else None,
        "span_id": f"{trace.span_id:016x}" if trace is not None else None,
        "listener": record.listener or None,
    }
    if record.rpc is not None:
        line["grpc_status"] = record.rpc.status
        line["messages_received"] = record.rpc.received
        line["messages_sent"] = record.rpc.sent
    if record.facts:
        line["facts"] = dict(record.facts)
    return line


def describe(record: Record) -> dict[str, Json]:
    """Everything: the summary, the verdict and each attempt."""
    whole = summarise(record)
    whole["route_template"] = record.template or None
    whole["proxy_error"] = record.error or None
    whole["replied_by"] = record.replied_by
    whole["sampled"] = record.trace is not None and record.trace.sampled
    whole["verdict"] = _verdict(record.verdict) if record.verdict is not None else None
    whole["attempts"] = [_attempt(attempt) for attempt in record.attempts]
    return whole


def target(record: Record) -> str:
    """Path and query, without secrets."""
    return record.path if record.query is None else f"{record.path}?{redact_query(record.query)}"


def timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def milliseconds(seconds: float | None) -> int | None:
    """Whole milliseconds, as Envoy counts them."""
    return None if seconds is None else round(seconds * 1e6) // 1000  # 1.005 - 1.0 is a little less than 0.005


def _verdict(verdict: Verdict) -> dict[str, Json]:
    return {
        "allowed": verdict.allowed,
        "action": verdict.action or None,
        "policy": verdict.policy or None,
        "rule": verdict.rule if verdict.rule >= 0 else None,
        "nearest": verdict.nearest or None,
        "failed": verdict.failed or None,
        "observed": verdict.observed or None,
    }


def _attempt(attempt: AttemptRecord) -> dict[str, Json]:
    return {
        "endpoint": attempt.host,
        "tls": attempt.tls,
        "protocol": f"HTTP/{attempt.protocol}" if attempt.protocol else None,
        "peer": attempt.session[5] or None if attempt.session is not None else None,
        "start_time": timestamp(attempt.started),
        "duration_ms": round(attempt.duration * 1000, 3),
        "status": attempt.status or None,
        "flag": attempt.flag or None,
        "details": attempt.details or None,
        "retry": attempt.verdict or None,
        "bytes_sent": attempt.sent,
        "connection_age_s": round(attempt.connection_age, 3),
        "connection_uses": attempt.connection_uses,
    }
