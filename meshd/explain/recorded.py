"""A recorded exchange as a question: what a line of the access log, or a record of the admin API, still knows of it."""

from collections.abc import Mapping

from meshd.explain.question import ADDRESS, Question
from meshd.telemetry.describe import Json


def question_of(line: Mapping[str, Json]) -> Question | None:
    """The request as it came, as far as it was kept; None when the line is about none (bytes that were no request)."""
    method, path = _text(line, "method"), _text(line, "path")
    if not method or method == "-" or not path:
        return None
    facts = line.get("facts")
    if isinstance(facts, dict):  # what a rewrite put another in the place of
        path = _text(facts, "original_path") + path[len(path.partition("?")[0]) :] if "original_path" in facts else path
    authority = _text(facts, "original_authority") if isinstance(facts, dict) else ""
    kept = (("user-agent", "user_agent"), ("x-forwarded-for", "x_forwarded_for"), ("x-request-id", "request_id"))
    headers = tuple((name, _text(line, key)) for name, key in kept if _text(line, key))
    return Question(
        method=method,
        target=path,
        authority=authority or _text(line, "authority"),
        caller=_text(line, "downstream_peer"),
        headers=headers,
        inbound=line.get("direction") == "inbound",
        listener=_text(line, "listener"),
        address=_text(line, "downstream_remote_address").rpartition(":")[0].strip("[]") or ADDRESS,
    )


def _text(line: Mapping[str, Json], name: str) -> str:
    value = line.get(name)
    return value if isinstance(value, str) else ""
