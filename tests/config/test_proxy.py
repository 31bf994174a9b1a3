"""The bootstrap's defaults are those of the plan."""

import pytest
from support.documents import document, problems_of, text_of

from meshd.config.proxy import Proxy

VERSION = "meshd.dev/v1alpha1"


def read(spec):
    proxy = document(text_of("Proxy", VERSION, spec)).model
    assert isinstance(proxy, Proxy)
    return proxy


def fields(spec):
    return [problem.field.removeprefix("spec.") for problem in problems_of(text_of("Proxy", VERSION, spec))]


def test_the_smallest_bootstrap_and_its_defaults():
    proxy = read("identity: {certificates: certs}\noutbound: [{listen: '127.0.0.1:0'}]")
    spec = proxy.spec
    assert (spec.workers, spec.drain, spec.policies) == (1, 10, ("policies/",))
    assert str(spec.admin.listen) == "127.0.0.1:15000"
    assert spec.telemetry.otlp is None
    assert (spec.telemetry.sampling, spec.telemetry.access_log.path, spec.telemetry.access_log.format) == (
        1.0,
        "-",
        "json",
    )
    assert (spec.outbound[0].protocol, spec.outbound[0].service) == ("auto", None)
    assert proxy.spiffe_id == "spiffe://cluster.local/ns/ns/sa/name"


def test_telemetry_is_exported_once_somebody_asks():
    """Each field of it is enough, and the collector of this machine is the one that is meant."""
    for written in ("{}", "{protocol: http/protobuf}", "{endpoint: 'http://127.0.0.1:4318'}"):
        otlp = read(f"outbound: [{{listen: 'a:1'}}]\ntelemetry: {{otlp: {written}}}").spec.telemetry.otlp
        assert (otlp.endpoint, otlp.protocol) == ("http://127.0.0.1:4318", "http/protobuf")
    for written in ("{}", "{sampling: 0.5}", "{accessLog: null}"):
        assert read(f"outbound: [{{listen: 'a:1'}}]\ntelemetry: {written}").spec.telemetry.otlp is None


def test_identity():
    written = "identity: {trustDomain: a.b, serviceAccount: c, certificates: d}\noutbound: [{listen: 'a:1'}]"
    assert read(written).spiffe_id == "spiffe://a.b/ns/ns/sa/c"
    assert read("outbound: [{listen: 'a:1'}]").spiffe_id == ""


def test_null_turns_parts_off():
    spec = read(
        "outbound: [{listen: 'a:1'}]\nadmin: null\ntelemetry: {otlp: null, accessLog: null}\nidentity: null"
    ).spec
    assert (spec.admin, spec.telemetry.otlp, spec.telemetry.access_log, spec.identity) == (None, None, None, None)
    assert read("outbound: [{listen: 'a:1'}]\ntelemetry: null").spec.telemetry is None


@pytest.mark.parametrize("protocol", ["auto", "http", "http2", "grpc", "tcp", "tls"])
def test_protocols(protocol):
    spec = read(f"inbound: [{{listen: '[::]:15006', app: 'unix:/run/a', protocol: {protocol}}}]").spec
    assert spec.inbound[0].protocol == protocol
    assert spec.inbound[0].app.is_unix


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("workers: auto", ["inbound"]),
        ("workers: many\noutbound: [{listen: 'a:1'}]", ["workers"]),
        ("workers: true\noutbound: [{listen: 'a:1'}]", ["workers"]),
        ("drain: 10\noutbound: [{listen: 'a:1'}]", ["drain"]),
        ("inbound: [{listen: 'a:1'}]", ["inbound[0].app"]),
        ("outbound: [{listen: 'a:1', service: reviews}]", ["outbound[0].service"]),
        ("outbound: [{listen: 'a:1', service: 'unix:/a'}]", ["outbound[0].service"]),
        ("outbound: [{listen: 'a:1'}, {listen: 'a:1'}]", ["outbound[1].listen"]),
        ("outbound: [{listen: 'a:0'}, {listen: 'a:0'}]", []),
        ("outbound: [{listen: '127.0.0.1:15000'}]", ["admin.listen"]),
        ("identity: {}\noutbound: [{listen: 'a:1'}]", ["identity.certificates"]),
        ("identity: {certificates: a, trustDomain: A.b}\noutbound: [{listen: 'a:1'}]", ["identity.trustDomain"]),
        ("telemetry: {otlp: {endpoint: a}}\noutbound: [{listen: 'a:1'}]", ["telemetry.otlp.endpoint"]),
        ("outbound: null", ["outbound"]),
        ("policies: a\noutbound: [{listen: 'a:1'}]", ["policies"]),
    ],
)
def test_what_is_refused(spec, found):
    assert fields(spec) == found
