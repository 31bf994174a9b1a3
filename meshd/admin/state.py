"""What the admin API can ask and do: the controller fills this in."""

from collections.abc import Callable
from dataclasses import dataclass

from meshd.telemetry.describe import Json
from meshd.telemetry.istio import Workload
from meshd.telemetry.metrics import Metrics
from meshd.telemetry.recent import Recent


@dataclass(frozen=True, slots=True)
class AdminState:
    """The controller as operators see it. Each callable answers at once and from memory."""

    ready: Callable[[], tuple[bool, str]]  # and why, or why not
    config: Callable[[], Json]
    clusters: Callable[[], Json]
    certificates: Callable[[], Json]
    listeners: Callable[[], Json]
    server_info: Callable[[], Json]
    drain: Callable[[], None]
    set_level: Callable[[str], None]  # one of LEVELS
    metrics: Metrics
    recent: Recent
    istio: Workload | None = None  # also show the metrics under Istio's names
