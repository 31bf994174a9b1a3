from dataclasses import replace

import pytest
from support.exchanges import make_call, make_exchange

from meshd.core.cells import Cells
from meshd.core.peer import NOBODY
from meshd.telemetry.istio import Services, Workload, istio_view
from meshd.telemetry.metrics import Metrics
from meshd.telemetry.prometheus import render
from meshd.telemetry.records import Recorder
from meshd.telemetry.report import Report

OWN = Workload("orders", "default", "spiffe://cluster.local/ns/default/sa/orders")


def view(*exchanges, own=OWN):
    metrics = Metrics()
    recorder = Recorder(Cells(), lambda _: True, 0.0, keep_all=False)
    for exchange in exchanges:
        recorder.finish(exchange, 0.0)
    Report(recorder, lambda payload: metrics.merge("worker 0", payload) is None, 1).push()
    return {family.name: family for family in istio_view(metrics.collect(), own)}


def requests(families):
    return [(dict(labels), value) for labels, value in families["istio_requests"].points]


def test_what_came_in_is_told_as_its_destination():
    ((labels, value),) = requests(view(make_exchange(), make_exchange()))
    assert value == 2
    assert labels == {
        "reporter": "destination",
        "source_workload": "web",
        "source_workload_namespace": "shop",
        "source_principal": "spiffe://cluster.local/ns/shop/sa/web",
        "source_app": "unknown",
        "source_version": "unknown",
        "source_cluster": "unknown",
        "source_canonical_service": "web",
        "source_canonical_revision": "latest",
        "destination_workload": "orders",
        "destination_workload_namespace": "default",
        "destination_principal": "spiffe://cluster.local/ns/default/sa/orders",
        "destination_app": "unknown",
        "destination_version": "unknown",
        "destination_cluster": "unknown",
        "destination_canonical_service": "orders",
        "destination_canonical_revision": "latest",
        "destination_service": "orders.default.svc.cluster.local",
        "destination_service_name": "orders",
        "destination_service_namespace": "default",
        "request_protocol": "http",
        "response_code": "200",
        "connection_security_policy": "mutual_tls",
        "response_flags": "-",
    }


def outbound(cluster, **given):
    exchange = make_exchange(inbound=False, status=503)
    exchange.cluster = cluster
    exchange.flag("UF")
    ((labels, _value),) = requests(view(exchange, **given))
    return labels


def test_what_went_out_is_told_as_its_source():
    labels = outbound("prod/reviews:9080")
    assert labels["reporter"] == "source"
    assert (labels["source_workload"], labels["source_workload_namespace"]) == ("orders", "default")
    assert labels["source_principal"] == OWN.spiffe_id
    assert (labels["response_code"], labels["response_flags"]) == ("503", "UF")
    assert labels["connection_security_policy"] == "unknown"  # only the destination can know


@pytest.mark.parametrize(
    ("cluster", "wanted"),
    [
        ("prod/reviews:9080", ("reviews.prod.svc.cluster.local", "reviews", "prod")),
        ("prod/reviews:9080/v2", ("reviews.prod.svc.cluster.local", "reviews", "prod")),
        ("api.example.com:443", ("api.example.com", "api.example.com", "egress")),
        ("other.example.com:443", ("other.example.com", "other.example.com", "unknown")),
        ("", ("unknown", "unknown", "unknown")),
    ],
)
def test_a_destination_is_named_as_istio_names_it(cluster, wanted):
    labels = outbound(cluster, own=replace(OWN, services=lambda: Services("", {"api.example.com": "egress"})))
    assert tuple(labels[f"destination_service{part}"] for part in ("", "_name", "_namespace")) == wanted


def test_who_answered_is_known_by_the_identity_it_proved():
    labels = outbound("prod/reviews:9080")
    assert labels["destination_principal"] == "spiffe://cluster.local/ns/default/sa/orders"
    assert (labels["destination_workload"], labels["destination_workload_namespace"]) == ("orders", "default")
    exchange = make_exchange(inbound=False)
    exchange.attempts[0].tls = None
    ((labels, _value),) = requests(view(exchange))
    assert (labels["destination_principal"], labels["destination_workload"]) == ("unknown", "unknown")


def test_labels_of_the_workload_name_app_and_version_and_a_selector_its_service():
    labels = {"app": "orders", "version": "v2"}
    own = Workload("orders-v2", "default", labels=labels, services=lambda: Services("orders"))
    ((labels, _value),) = requests(view(make_exchange(), own=own))
    assert (labels["destination_app"], labels["destination_version"]) == ("orders", "v2")
    assert (labels["destination_canonical_service"], labels["destination_canonical_revision"]) == ("orders", "v2")
    assert (labels["destination_workload"], labels["destination_service_name"]) == ("orders-v2", "orders")


def test_a_stranger_in_plain_text():
    exchange = make_exchange()
    exchange.peer = NOBODY
    ((labels, _value),) = requests(view(exchange))
    assert (labels["source_principal"], labels["source_workload"]) == ("unknown", "unknown")
    assert labels["connection_security_policy"] == "none"


def test_durations_are_in_milliseconds_and_add_up():
    other = make_exchange(method=b"PUT")
    families = view(make_exchange(), other)
    ((_labels, found),) = families["istio_request_duration_milliseconds"].distributions
    assert found.count == 2
    assert round(found.sum, 3) == 10.0
    assert families["istio_request_duration_milliseconds"].bounds[:3] == (5.0, 10.0, 25.0)


def test_the_page_has_istios_names():
    page = render(view(make_exchange()).values())
    for name in (
        "istio_requests_total{",
        "istio_request_duration_milliseconds_bucket{",
        "istio_request_bytes_sum{",
        "istio_response_bytes_count{",
    ):
        assert f"\n{name}" in page


def test_sizes_add_up():
    families = view(make_exchange(), make_exchange(method=b"PUT"))
    ((_labels, sent),) = families["istio_response_bytes"].distributions
    assert (sent.count, sent.sum) == (2, 690)


def test_nothing_counted_is_nothing_shown():
    assert all(not family.points and not family.distributions for family in view().values())


def test_calls_of_grpc_have_their_status_and_messages():
    families = view(make_call(status=5), make_call(status=5), make_exchange())
    by_status = {labels.get("grpc_response_status"): (labels, value) for labels, value in requests(families)}
    labels, value = by_status["5"]
    assert (labels["request_protocol"], value) == ("grpc", 2)
    assert by_status[None][0]["request_protocol"] == "http"
    for name, count in (("request", 2), ("response", 4)):
        ((labels, value),) = families[f"istio_{name}_messages"].points
        assert (dict(labels)["grpc_response_status"], value) == ("5", count)
    protocols = [
        dict(labels)["request_protocol"] for labels, _ in families["istio_request_duration_milliseconds"].distributions
    ]
    assert sorted(protocols) == ["grpc", "http"]
