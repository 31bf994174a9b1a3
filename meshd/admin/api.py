"""The admin API without its socket: a request in, a response out, from memory and at once.

Rule 1: GET reads, POST changes; the wrong one of them is told which is right. Rule 2: who is not on this machine may
read health and metrics and nothing else, and changes nothing. Rule 3: the expensive page, metrics, is made at most
once a second however many ask for it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import parse_qs

from meshd.admin.redact import redact
from meshd.admin.state import AdminState
from meshd.core.log_levels import LEVELS
from meshd.telemetry import prometheus
from meshd.telemetry.describe import Json, describe
from meshd.telemetry.istio import istio_view
from meshd.telemetry.metrics import Family
from meshd.telemetry.stats import stats

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
FRESH: Final = 1.0  # seconds that collected metrics are good for
LIMIT: Final = 1000  # records in one answer
FOR_ALL: Final = frozenset({"/live", "/ready", "/metrics", "/stats"})  # pages that another machine may read


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """What goes back."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """What was asked. `local` says that it came from this machine."""

    method: str
    path: str
    query: str
    now: float
    local: bool = True
    accept: str = ""


class AdminApi:
    """The pages over one state."""

    __slots__ = ("_families", "_fresh_until", "_pages", "state")

    def __init__(self, state: AdminState) -> None:
        self.state = state
        self._families: list[Family] = []
        self._pages: dict[bool, bytes] = {}  # the metrics, by whether they are in OpenMetrics
        self._fresh_until = float("-inf")

    def answer(self, request: AdminRequest) -> AdminResponse:
        """The response to `request`."""
        path = request.path.rstrip("/") or "/"
        page = PAGES.get(path)
        if page is None:
            known = "\n".join(f"  {each.method:4} {name}  {each.text}" for name, each in PAGES.items())
            return text(404, f"no page {path}; the pages are\n{known}")
        if not request.local and path not in FOR_ALL:
            return text(403, f"{path} answers only to this machine: use the loopback address or the unix socket")
        method = "GET" if request.method == "HEAD" else request.method
        if method != page.method:
            why = "changes something" if page.method == "POST" else "only reads"
            refusal = f"{path} {why}: use {page.method}, not {request.method}"
            return text(405, refusal, ((b"allow", page.method.encode()),))
        return page.answer(self, request)

    def families(self, now: float) -> list[Family]:
        """Every metric, at most a second old."""
        if now >= self._fresh_until:
            self._families = self.state.metrics.collect()
            self._pages.clear()
            self._fresh_until = now + FRESH
        return self._families

    def metrics_page(self, now: float, *, open_metrics: bool = False) -> bytes:
        """The metrics as Prometheus reads them."""
        families = self.families(now)
        page = self._pages.get(open_metrics)
        if page is None:
            own = self.state.istio
            shown = families if own is None else [*families, *istio_view(families, own)]
            page = prometheus.render(shown, open_metrics=open_metrics).encode("utf-8", "backslashreplace")
            self._pages[open_metrics] = page
        return page

    def __repr__(self) -> str:
        return f"<AdminApi {len(PAGES)} pages>"


Answer: TypeAlias = Callable[[AdminApi, AdminRequest], AdminResponse]


@dataclass(frozen=True, slots=True)
class Page:
    """One path: how to ask, what it says, and what makes the answer."""

    method: str
    text: str
    answer: Answer


def text(status: int, line: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> AdminResponse:
    """A line for people."""
    return AdminResponse(status, f"{line}\n".encode("utf-8", "backslashreplace"), TEXT, headers)


def as_json(value: Json, status: int = 200) -> AdminResponse:
    """A value for programs that people can read too."""
    return AdminResponse(status, json.dumps(value, indent=2).encode() + b"\n", JSON)


def _parameters(query: str) -> dict[str, str]:
    """The last value of each; an empty value counts."""
    return {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True, max_num_fields=20).items()}


def _index(_api: AdminApi, _request: AdminRequest) -> AdminResponse:
    return as_json({name: f"{page.method}: {page.text}" for name, page in PAGES.items()})


def _live(_api: AdminApi, _request: AdminRequest) -> AdminResponse:
    return text(200, "live")


def _ready(api: AdminApi, _request: AdminRequest) -> AdminResponse:
    ready, reason = api.state.ready()
    return text(200 if ready else 503, reason or ("ready" if ready else "not ready"))


def _stats(api: AdminApi, request: AdminRequest) -> AdminResponse:
    return as_json(stats(api.families(request.now), _parameters(request.query).get("prefix", "")))


def _metrics(api: AdminApi, request: AdminRequest) -> AdminResponse:
    asked = prometheus.wants_open_metrics(request.accept)
    kind = prometheus.OPEN_METRICS if asked else prometheus.CONTENT_TYPE
    return AdminResponse(200, api.metrics_page(request.now, open_metrics=asked), kind, ((b"vary", b"accept"),))


def _config(api: AdminApi, _request: AdminRequest) -> AdminResponse:
    return as_json(redact(api.state.config()))


def _records(api: AdminApi, request: AdminRequest) -> AdminResponse:
    given = _parameters(request.query)
    recent = api.state.recent
    limit = given.pop("limit", "50")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= LIMIT:
        return text(400, f"limit: got {limit!r}, expected a number from 1 to {LIMIT}")
    count = int(limit)
    if len(given) > 1 or not given.keys() <= {"denied", "request-id", "trace-id"}:
        return text(400, f"got {request.query!r}, expected one of denied=1, request-id=<id> or trace-id=<hex>")
    if "request-id" in given:
        found = recent.by_request_id(given["request-id"], count)
    elif "trace-id" in given:
        found = recent.by_trace_id(given["trace-id"], count)
    elif "denied" in given:
        found = recent.denied(count)
    else:
        found = recent.latest(count)
    return as_json([describe(record) for record in found])


def _drain(api: AdminApi, _request: AdminRequest) -> AdminResponse:
    api.state.drain()
    return text(202, "draining")


def _logging(api: AdminApi, request: AdminRequest) -> AdminResponse:
    level = _parameters(request.query).get("level", "").lower()
    if level not in LEVELS:
        return text(400, f"level: got {level!r}, expected one of {', '.join(LEVELS)}, as in /logging?level=debug")
    api.state.set_level(level)
    return text(200, f"log level is {level}")


PAGES: Final[dict[str, Page]] = {
    "/": Page("GET", "this list", _index),
    "/live": Page("GET", "200 while this process runs", _live),
    "/ready": Page("GET", "200 when traffic may come, else 503 and why not", _ready),
    "/stats": Page("GET", "metrics as JSON, ?prefix=http.server for some", _stats),
    "/metrics": Page("GET", "metrics for Prometheus", _metrics),
    "/config_dump": Page("GET", "the documents that are served, without secrets", _config),
    "/clusters": Page("GET", "clusters, endpoints and pools", lambda api, _request: as_json(api.state.clusters())),
    "/certs": Page("GET", "certificates and when they expire", lambda api, _: as_json(api.state.certificates())),
    "/listeners": Page("GET", "what listens where", lambda api, _request: as_json(api.state.listeners())),
    "/server_info": Page("GET", "version, workers, uptime", lambda api, _: as_json(api.state.server_info())),
    "/records": Page("GET", "recent exchanges, ?denied=1, ?request-id= or ?trace-id= for some", _records),
    "/drain": Page("POST", "end gracefully: stop accepting, finish what is under way", _drain),
    "/logging": Page("POST", "change the log level, ?level=debug", _logging),
}
