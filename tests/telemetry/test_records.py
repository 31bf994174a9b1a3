import pytest
from support.conventions import wrong
from support.exchanges import make_attempt, make_call, make_denied, make_exchange

from meshd.core.cells import LONG_BOUNDARIES, Cells
from meshd.core.route import Route
from meshd.telemetry import records
from meshd.telemetry.exporter import typed
from meshd.telemetry.records import BATCH, MAX_AGE, Recorder, decode_batch


class Wire:
    """A channel that takes what it is given, or does not."""

    def __init__(self):
        self.taken = []
        self.full = False

    def send(self, payload):
        if not self.full:
            self.taken.append(payload)
        return not self.full


@pytest.fixture
def wire():
    return Wire()


def make_recorder(wire, *, keep_all=False):
    return Recorder(Cells(), wire.send, 0.0, keep_all=keep_all)


def totals(recorder):
    return {(name, dict(labels).get("http.response.status_code")): value
            for series in recorder.series() for (name, labels), value in series.totals()}  # fmt: skip


def test_exchanges_that_look_alike_share_a_series(wire):
    recorder = make_recorder(wire)
    for _ in range(3):
        recorder.finish(make_exchange(), 0.0)
    recorder.finish(make_exchange(status=503), 0.0)
    assert recorder.statistics()["series"] == 2
    assert totals(recorder) == {
        ("meshd.exchanges", "200"): 3,
        ("meshd.exchange.received", "200"): 36,
        ("meshd.exchange.sent", "200"): 1035,
        ("meshd.exchanges", "503"): 1,
        ("meshd.exchange.received", "503"): 12,
        ("meshd.exchange.sent", "503"): 345,
    }


def test_paths_hosts_and_unknown_methods_make_no_series(wire):
    recorder = make_recorder(wire)
    for number in range(50):
        exchange = make_exchange(method=b"M%d" % number, path=b"/%d" % number)
        exchange.head.authority = b"host%d" % number
        recorder.finish(exchange, 0.0)
    (series,) = recorder.series()
    assert series.count == 50
    assert dict(series.labels)["http.request.method"] == "_OTHER"


def test_series_past_the_cap_share_one(wire, monkeypatch):
    monkeypatch.setattr(records, "SERIES_CAP", 10)
    recorder = make_recorder(wire)
    for status in range(200, 300):
        recorder.finish(make_exchange(status=status), 0.0)
    assert recorder.statistics()["series"] == 11
    assert sum(series.count for series in recorder.series()) == 100
    *_, last = recorder.series()
    assert (last.labels, last.count) == ((("overflow", "true"),), 90)
    assert (
        sum(
            each.count
            for (name, _), each in recorder.cells.histograms.items()
            if name.endswith("r.request.duration") and "server" in name
        )
        == 100
    )


def test_durations_are_told_apart_by_what_the_convention_says(wire):
    recorder = make_recorder(wire)
    recorder.finish(make_exchange(status=500), 0.0)
    name, labels = next(iter(recorder.cells.histograms))
    assert name == "http.server.request.duration"
    assert dict(labels) == {
        "http.request.method": "GET",
        "url.scheme": "https",
        "meshd.direction": "inbound",
        "meshd.cluster": "orders.default:80",
        "network.protocol.version": "1.1",
        "http.route": "/orders/{id}",
        "http.response.status_code": "500",
        "error.type": "500",
    }


def test_every_attempt_is_timed(wire):
    recorder = make_recorder(wire)
    exchange = make_exchange()
    exchange.attempts.insert(0, make_attempt(2, status=0, flag="UF", started=100.0))
    recorder.finish(exchange, 0.0)
    calls = [item for item in recorder.cells.histograms.items() if item[0][0] == "http.client.request.duration"]
    found = {dict(labels).get("error.type"): each.count for (_name, labels), each in calls}
    assert found == {"UF": 1, None: 1}


def test_an_ordinary_exchange_leaves_no_record(wire):
    recorder = make_recorder(wire)
    recorder.finish(make_exchange(sampling=0.0), 0.0)
    recorder.flush(99.0, force=True)
    assert wire.taken == []


@pytest.mark.parametrize("exchange", [make_exchange(), make_denied(sampling=0.0)])
def test_what_somebody_will_look_at_is_kept(wire, exchange):
    recorder = make_recorder(wire)
    recorder.finish(exchange, 0.0)
    recorder.flush(0.0, force=True)
    (found,) = decode_batch(wire.taken[0])
    assert found.status == exchange.status


def test_a_flag_alone_is_reason_enough(wire):
    recorder = make_recorder(wire)
    exchange = make_exchange(sampling=0.0)
    exchange.flag("DC")
    recorder.finish(exchange, 0.0)
    assert recorder.statistics()["waiting"] == 1


def test_an_access_log_wants_all(wire):
    recorder = make_recorder(wire, keep_all=True)
    recorder.finish(make_exchange(sampling=0.0), 0.0)
    assert recorder.statistics()["waiting"] == 1


def test_a_full_batch_leaves_at_once(wire):
    recorder = make_recorder(wire)
    for _ in range(BATCH):
        recorder.finish(make_exchange(), 0.0)
    assert len(decode_batch(wire.taken[0])) == BATCH
    assert recorder.statistics()["waiting"] == 0


def test_a_batch_that_does_not_fill_leaves_by_age(wire):
    recorder = make_recorder(wire)
    recorder.finish(make_exchange(), 10.0)
    recorder.flush(10.0 + MAX_AGE / 2)
    assert wire.taken == []
    recorder.flush(10.0 + MAX_AGE)
    assert len(wire.taken) == 1


def test_what_the_channel_does_not_take_is_counted(wire):
    recorder = make_recorder(wire)
    wire.full = True
    for _ in range(3):
        recorder.finish(make_exchange(), 0.0)
    recorder.flush(0.0, force=True)
    assert recorder.cells.counters == {("meshd.telemetry.dropped", (("meshd.at", "worker"),)): 3}
    assert recorder.statistics()["waiting"] == 0


def test_refused_connections_are_counted_by_reason(wire):
    recorder = make_recorder(wire)
    recorder.refused("inbound-15006", "expired")
    key = ("meshd.connections.refused", (("meshd.listener", "inbound-15006"), ("error.type", "expired")))
    assert recorder.cells.counters == {key: 1}


def test_a_recorder_shows_what_it_holds(wire):
    recorder = make_recorder(wire)
    recorder.finish(make_exchange(), 0.0)
    assert repr(recorder) == "<Recorder 1 series, 1 records waiting>"
    assert repr(next(recorder.series())).endswith(" 1>")


def test_calls_of_grpc_are_told_apart_by_status_and_their_messages_counted(wire):
    recorder = make_recorder(wire)
    for call in (make_call(), make_call(), make_call(status=14), make_call(status=None), make_exchange()):
        recorder.finish(call, 0.0)
    found = {
        (name, dict(labels).get("rpc.response.status_code")): value
        for series in recorder.series()
        for (name, labels), value in series.totals()
    }
    assert (found["meshd.messages.received", "OK"], found["meshd.messages.sent", "OK"]) == (2, 4)
    assert {status for name, status in found if name == "meshd.messages.sent"} == {"OK", "UNAVAILABLE", "none"}
    assert found["meshd.exchanges", None] == 1


def histograms(recorder, name):
    return [(dict(labels), each) for (found, labels), each in recorder.cells.histograms.items() if found == name]


def test_calls_of_grpc_have_the_conventions_durations_as_well(wire):
    recorder = make_recorder(wire)
    for call in (make_call(), make_call(status=14), make_call(status=None), make_exchange()):
        recorder.finish(call, 0.0)
    found = histograms(recorder, "rpc.server.call.duration")
    assert {labels.get("rpc.response.status_code"): labels.get("error.type") for labels, _ in found} == {
        "OK": None,
        "UNAVAILABLE": "UNAVAILABLE",
        None: None,
    }
    assert [each.count for _, each in found] == [1, 1, 1]
    assert sum(each.count for _, each in histograms(recorder, "rpc.client.call.duration")) == 3
    assert sum(each.count for _, each in histograms(recorder, "http.client.request.duration")) == 4


@pytest.mark.parametrize(
    ("template", "method"), [("/shop.Orders/Get", "shop.Orders/Get"), ("/shop.Orders/*", None), ("/*", None)]
)
def test_a_method_is_a_label_only_where_a_route_names_it(wire, template, method):
    recorder = make_recorder(wire)
    call = make_call(path=b"/shop.Orders/Anything")
    call.route = Route("r", template)
    recorder.finish(call, 0.0)
    ((labels, _),) = histograms(recorder, "rpc.server.call.duration")
    assert labels.get("rpc.method") == method


def test_attempts_are_told_apart_by_where_they_went_and_not_by_what_a_client_wrote(wire):
    recorder = make_recorder(wire)
    exchange = make_exchange()
    exchange.cluster = "shop/reviews:9080/v2"
    exchange.head.authority = b"whatever.test:1"
    recorder.finish(exchange, 0.0)
    ((labels, _),) = histograms(recorder, "http.client.request.duration")
    assert labels == {
        "http.request.method": "GET",
        "http.response.status_code": "200",
        "network.protocol.version": "1.1",
        "server.address": "reviews.shop.svc.cluster.local",
        "server.port": "9080",
        "meshd.cluster": "shop/reviews:9080/v2",
    }


def test_sizes_of_bodies_are_counted(wire):
    recorder = make_recorder(wire)
    for octets in (0, 1, 256, 257, 1024, 1025, 2**40):
        exchange = make_exchange()
        exchange.bytes_sent = octets
        recorder.finish(exchange, 0.0)
    ((_, found),) = histograms(recorder, "http.server.response.body.size")
    assert (found.count, found.sum) == (7, 1 + 256 + 257 + 1024 + 1025 + 2**40)
    assert (found.buckets[:3], found.buckets[-1]) == ([3, 2, 1], 1)


def test_a_kept_trace_is_the_example_of_its_durations(wire):
    recorder = make_recorder(wire)
    recorder.finish(make_exchange(sampling=0.0), 0.0)
    ((_, found),) = histograms(recorder, "http.server.request.duration")
    assert found.exemplar is None
    exchange = make_exchange()
    recorder.finish(exchange, 0.0)
    value, trace_id, span_id, _at = found.exemplar
    assert (trace_id, span_id) == (exchange.trace.trace_id, exchange.trace.span_id)
    assert round(value, 6) == 0.005


def test_no_label_is_without_a_value_and_each_is_of_the_conventions_or_ours(wire):
    recorder = make_recorder(wire)
    for exchange in (make_exchange(), make_call(), make_call(status=None), make_denied(), make_exchange(status=0)):
        recorder.finish(exchange, 0.0)
    found = [labels for _, labels in recorder.cells.histograms]
    found += [series.labels for series in recorder.series()]
    assert found
    for labels in found:
        assert not wrong(typed(labels))


def test_what_is_not_there_any_more_is_shown_as_nothing(wire):
    recorder = make_recorder(wire)
    one, other = ("level", (("n", "1"),)), ("level", (("n", "2"),))
    recorder.show({one: 3, other: 1})
    recorder.show({other: 2})
    assert recorder.cells.gauges == {one: 0, other: 2}


def test_a_connection_that_ended_is_told_of_by_where_it_went(wire):
    recorder = make_recorder(wire)
    recorder.parted("shop/reviews:80", 7.0)
    ((labels, found),) = histograms(recorder, "http.client.connection.duration")
    assert not wrong(typed(tuple(labels.items())))
    assert labels["server.address"] == "reviews.shop.svc.cluster.local"
    assert (found.count, found.sum, found.bounds) == (1, 7.0, LONG_BOUNDARIES)
