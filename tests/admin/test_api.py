import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.admin import FakeController
from support.exchanges import make_denied, make_exchange, make_record

from meshd.admin.api import FRESH, PAGES, AdminRequest
from meshd.telemetry.istio import Workload


@pytest.fixture
def controller():
    return FakeController()


def read(response):
    assert (response.status, response.content_type) == (200, "application/json")
    return json.loads(response.body)


def test_live_is_always_and_ready_says_why_not(controller):
    assert controller.ask("GET", "/live").status == 200
    assert controller.ask("GET", "/ready").body == b"ready\n"
    controller.is_ready = (False, "no certificates yet")
    found = controller.ask("GET", "/ready")
    assert (found.status, found.body) == (503, b"no certificates yet\n")


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/clusters", {"orders.default:80": {"endpoints": []}}),
        ("/certs", [{"spiffe_id": "spiffe://cluster.local/ns/default/sa/orders"}]),
        ("/listeners", ["127.0.0.1:15001"]),
        ("/server_info/", {"version": "1"}),
    ],
)
def test_pages_show_what_the_controller_knows(controller, path, wanted):
    assert read(controller.ask("GET", path)) == wanted


def test_config_is_shown_without_secrets(controller):
    found = controller.ask("GET", "/config_dump")
    assert read(found)["spec"] == {"privateKey": "[redacted]", "workers": 1}
    assert b"s3cret" not in found.body


def test_metrics_for_prometheus_and_for_people(controller):
    controller.metrics.cells.add("meshd.exchanges", amount=3)
    found = controller.ask("GET", "/metrics")
    assert found.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"\nmeshd_exchanges_total 3\n" in found.body
    assert read(controller.ask("GET", "/stats"))["counters"]["meshd.exchanges"] == [{"labels": {}, "value": 3}]
    assert read(controller.ask("GET", "/stats", "prefix=http."))["counters"] == {}


def test_a_storm_of_scrapes_makes_one_page_a_second(controller):
    first = controller.ask("GET", "/metrics", now=5.0).body
    controller.metrics.cells.add("n")
    assert controller.ask("GET", "/metrics", now=5.0 + FRESH / 2).body is first
    assert b"n_total 1" in controller.ask("GET", "/metrics", now=5.0 + FRESH).body


def test_istios_names_are_a_switch():
    for istio, shown in ((None, False), (Workload("orders", "default"), True)):
        controller = FakeController(istio)
        controller.metrics.cells.add("meshd.exchanges", (("meshd.direction", "inbound"),))
        assert (b"istio_requests_total{" in controller.ask("GET", "/metrics").body) is shown


def test_post_drains_and_sets_the_level(controller):
    assert controller.ask("POST", "/drain").status == 202
    assert controller.drains == 1
    assert controller.ask("POST", "/logging", "level=DEBUG").body == b"log level is debug\n"
    assert controller.levels == ["debug"]


@pytest.mark.parametrize("query", ["", "level=", "level=loud", "level=debug&level=loud", "level=critical"])
def test_a_level_is_one_of_those_there_are(controller, query):
    found = controller.ask("POST", "/logging", query)
    assert found.status == 400
    assert b"expected one of debug, info, warning, error, as in" in found.body
    assert controller.levels == []


@pytest.mark.parametrize("path", ["/drain", "/logging"])
def test_get_changes_nothing(controller, path):
    for method in ("GET", "HEAD"):
        found = controller.ask(method, path, "level=debug")
        assert (found.status, found.headers) == (405, ((b"allow", b"POST"),))
        assert found.body == f"{path} changes something: use POST, not {method}\n".encode()
    assert (controller.drains, controller.levels) == (0, [])


def test_post_to_a_page_that_reads_is_refused(controller):
    assert controller.ask("POST", "/stats").body == b"/stats only reads: use GET, not POST\n"
    assert controller.ask("HEAD", "/stats").status == 200


def test_an_unknown_page_lists_the_known_ones(controller):
    found = controller.ask("GET", "/quitquitquit")
    assert found.status == 404
    assert all(path.encode() in found.body for path in PAGES)
    assert read(controller.ask("GET", "/")).keys() == PAGES.keys()


def test_another_machine_reads_health_and_metrics_only(controller):
    for path in PAGES:
        method = PAGES[path].method
        found = controller.ask(method, path, "level=debug", local=False)
        allowed = path in {"/live", "/ready", "/metrics", "/stats"}
        assert (found.status != 403) is allowed, path
    assert (controller.drains, controller.levels) == (0, [])


@pytest.fixture
def records(controller):
    denied, other = make_denied(), make_exchange()
    other.request_id = b"other"
    other.trace.trace_id = 255
    controller.recent.add([make_record(denied), make_record(other)])
    return controller


def test_recent_exchanges_newest_first(records):
    assert [each["response_code"] for each in read(records.ask("GET", "/records"))] == [200, 403]
    assert [each["response_code"] for each in read(records.ask("GET", "/records", "limit=1"))] == [200]


@pytest.mark.parametrize(
    ("query", "statuses"),
    [
        ("denied=1", [403]),
        ("request-id=other", [200]),
        ("trace-id=ff", [200]),
        ("trace-id=zz", []),
        ("request-id=", []),
    ],
)
def test_one_exchange_is_found(records, query, statuses):
    assert [each["response_code"] for each in read(records.ask("GET", "/records", query))] == statuses


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "limit=", "limit=" + "9" * 5000, "limit=%C2%B2"])
def test_a_limit_is_a_number_in_range(records, query):
    found = records.ask("GET", "/records", query)
    assert found.status == 400
    assert b"expected a number from 1 to 1000" in found.body


@pytest.mark.parametrize("query", ["id=1", "denied=1&trace-id=ff"])
def test_records_are_asked_for_in_one_way(records, query):
    found = records.ask("GET", "/records", query)
    assert found.status == 400
    assert b"expected one of denied=1" in found.body


@given(st.sampled_from(["GET", "POST", "PUT", ""]), st.text(max_size=20), st.text(max_size=60), st.booleans())
def test_whatever_is_asked_there_is_an_answer(method, path, query, local):
    controller = FakeController()
    assert controller.api.answer(AdminRequest(method, path, query, 0.0, local)).status < 500
    for known in ("/records", "/stats"):
        assert controller.api.answer(AdminRequest("GET", known, query, 0.0, local)).status < 500


def test_an_api_says_what_it_is(controller):
    assert repr(controller.api) == f"<AdminApi {len(PAGES)} pages>"


def test_metrics_come_in_open_metrics_for_who_asks_for_it():
    controller = FakeController()
    controller.metrics.cells.add("meshd.exchanges")
    for accept, kind, end in (("", "text/plain", False), ("application/openmetrics-text", "application/open", True)):
        answer = controller.api.answer(AdminRequest("GET", "/metrics", "", 0.0, accept=accept))
        assert answer.content_type.startswith(kind)
        assert answer.body.endswith(b"# EOF\n") is end
