"""An admin API over a controller that remembers what it was told to do."""

from meshd.admin.api import AdminApi, AdminRequest
from meshd.admin.state import AdminState
from meshd.telemetry.metrics import Metrics
from meshd.telemetry.recent import Recent


class FakeController:
    """Ready, with one of everything."""

    def __init__(self, istio=None):
        self.is_ready = (True, "")
        self.levels = []
        self.drains = 0
        self.document = {"kind": "Proxy", "spec": {"privateKey": "s3cret", "workers": 1}}
        self.metrics = Metrics()
        self.recent = Recent()
        self.state = AdminState(
            ready=lambda: self.is_ready,
            config=lambda: self.document,
            clusters=lambda: {"orders.default:80": {"endpoints": []}},
            certificates=lambda: [{"spiffe_id": "spiffe://cluster.local/ns/default/sa/orders"}],
            listeners=lambda: ["127.0.0.1:15001"],
            server_info=lambda: {"version": "1"},
            drain=self.drain,
            set_level=self.levels.append,
            metrics=self.metrics,
            recent=self.recent,
            istio=istio,
        )
        self.api = AdminApi(self.state)

    def drain(self):
        self.drains += 1

    def ask(self, method, path, query="", *, now=0.0, local=True):
        """One request, past any socket."""
        return self.api.answer(AdminRequest(method, path, query, now, local))
