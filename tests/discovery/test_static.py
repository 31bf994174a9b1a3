"""Services, slices and entries become ports with places."""

import pytest

from meshd.config.service import EndpointSlice, Service
from meshd.config.service_entry import ServiceEntry
from meshd.discovery.known_port import Place
from meshd.discovery.static import entry_ports, service_ports


def service(*ports, name="web", namespace="shop", **metadata):
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace} | metadata,
        "spec": {"ports": list(ports) or [{"port": 80}]},
    }
    return Service.model_validate(document)


def endpoint_slice(*addresses, ports=({"port": 8080},), name="web-1", namespace="shop", labels=None, of="web"):
    endpoints = [each if isinstance(each, dict) else {"addresses": [each]} for each in addresses]
    document = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": of} | (labels or {}),
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": None if ports is None else list(ports),
    }
    return EndpointSlice.model_validate(document)


def entry(**spec):
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "out", "namespace": "shop"},
        "spec": {"hosts": ["api.test"], "ports": [{"name": "http", "number": 80}], "resolution": "STATIC"} | spec,
    }
    return ServiceEntry.model_validate(document)


def ports_of(*services, slices=(), own="shop"):
    return list(service_ports(services, slices, "td", own))


def addresses(known):
    return [(place.address, place.port) for place in known.places]


def test_every_tcp_port_is_one():
    found = ports_of(
        service(
            {"name": "http", "port": 80},
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "grpc", "port": 90},
        )
    )
    assert [(each.port_name, each.port, each.protocol) for each in found] == [
        ("http", 80, "http"),
        ("grpc", 90, "grpc"),
    ]
    assert not found[0].only_port


def test_a_udp_port_beside_it_leaves_a_tcp_port_the_only_one():
    assert ports_of(service({"name": "a", "port": 90}, {"name": "b", "port": 53, "protocol": "UDP"}))[0].only_port


@pytest.mark.parametrize("own", ["shop", "front"])
def test_a_service_goes_by_its_short_name_in_its_own_namespace_only(own):
    hosts = ports_of(service(), own=own)[0].hosts
    assert hosts[-3:] == ("web.shop", "web.shop.svc", "web.shop.svc.cluster.local")
    assert ("web" in hosts) == (own == "shop")


def test_places_come_from_the_slices_of_that_service_in_that_namespace():
    slices = [
        endpoint_slice("10.0.0.1", "10.0.0.2"),
        endpoint_slice("10.0.0.3", name="web-2"),
        endpoint_slice("10.9.0.1", of="other"),
        endpoint_slice("10.9.0.2", namespace="front"),
    ]
    found = addresses(ports_of(service(), slices=slices)[0])
    assert found == [("10.0.0.1", 8080), ("10.0.0.2", 8080), ("10.0.0.3", 8080)]


def test_an_endpoint_in_two_slices_is_one_place():
    """Kubernetes moves endpoints between slices by writing the new slice first: consumers must not count twice."""
    slices = [endpoint_slice("10.0.0.1"), endpoint_slice("10.0.0.1", "10.0.0.2", name="web-2")]
    assert addresses(ports_of(service(), slices=slices)[0]) == [("10.0.0.1", 8080), ("10.0.0.2", 8080)]
    plain = endpoint_slice("10.0.0.1", labels={"security.istio.io/tlsMode": "disabled"})
    assert ports_of(service(), slices=[slices[0], plain])[0].places[0].mutual


@pytest.mark.parametrize(("ready", "there"), [({}, True), ({"ready": True}, True), ({"ready": False}, False)])
def test_what_is_not_ready_is_left_out(ready, there):
    one = {"addresses": ["10.0.0.1"], "conditions": ready}
    assert bool(ports_of(service(), slices=[endpoint_slice(one)])[0].places) is there


def test_the_addresses_of_one_endpoint_are_alternatives():
    one = {"addresses": ["10.0.0.1", "10.0.0.2"]}
    assert addresses(ports_of(service(), slices=[endpoint_slice(one)])[0]) == [("10.0.0.1", 8080)]


def test_a_slice_port_is_found_by_name():
    one = service({"name": "http", "port": 80}, {"name": "admin", "port": 90})
    ports = [{"name": "admin", "port": 9090}, {"name": "http", "port": 8080}]
    found = ports_of(one, slices=[endpoint_slice("10.0.0.1", ports=ports)])
    assert [addresses(each) for each in found] == [[("10.0.0.1", 8080)], [("10.0.0.1", 9090)]]
    assert ports_of(one, slices=[endpoint_slice("10.0.0.1", ports=ports[:1])])[0].places == ()


@pytest.mark.parametrize(("target", "number"), [({}, 80), ({"targetPort": 8080}, 8080), ({"targetPort": "web"}, 80)])
def test_a_slice_without_ports_has_them_all(target, number):
    found = ports_of(service({"port": 80} | target), slices=[endpoint_slice("10.0.0.1", ports=None)])
    assert addresses(found[0]) == [("10.0.0.1", number)]


@pytest.mark.parametrize(
    ("labels", "mutual"), [({}, True), ({"security.istio.io/tlsMode": "disabled"}, False), ({"other": "x"}, True)]
)
def test_a_service_is_dialled_with_mutual_tls_unless_its_slice_says_not(labels, mutual):
    place = ports_of(service(), slices=[endpoint_slice("10.0.0.1", labels=labels)])[0].places[0]
    assert place.mutual is mutual
    assert dict(place.labels) == {"kubernetes.io/service-name": "web"} | labels


@pytest.mark.parametrize(
    ("listed", "identities"),
    [("web", {"spiffe://td/ns/shop/sa/web"}), (" web, two,", {f"spiffe://td/ns/shop/sa/{n}" for n in ("web", "two")})],
)
def test_an_annotation_says_whom_its_endpoints_must_prove_to_be(listed, identities):
    one = service(annotations={"meshd.dev/service-accounts": listed})
    assert ports_of(one, slices=[endpoint_slice("10.0.0.1")])[0].places[0].identities == identities


def test_without_it_any_identity_will_do():
    place = ports_of(service(), slices=[endpoint_slice({"addresses": ["10.0.0.1"], "zone": "z1"})])[0].places[0]
    assert (place.identities, place.zone) == (frozenset(), "z1")


def test_an_external_name_is_outside_the_mesh():
    document = service({"port": 80, "targetPort": 8080}).model_dump(by_alias=True)
    document["spec"] |= {"type": "ExternalName", "externalName": "api.test"}
    found = ports_of(Service.model_validate(document), slices=[endpoint_slice("10.0.0.1")])
    assert found[0].places == (Place("api.test", 8080, server_name="api.test", by_address=True),)


def places_of(**spec):
    return next(entry_ports([entry(**spec)], "td")).places


def test_an_entry_is_known_by_all_its_hosts_and_named_for_its_document():
    one = entry(hosts=["api.test", "*.b.test"], ports=[{"name": "a", "number": 80}, {"name": "tcp-b", "number": 90}])
    found = list(entry_ports([one], "td"))
    assert [each.cluster for each in found] == ["api.test:80", "api.test:90"]
    assert {each.name for each in found} == {"out"}
    assert [each.protocol for each in found] == ["http", "tcp"]
    assert found[0].hosts == ("api.test", "*.b.test")
    assert not found[0].only_port


def test_the_protocol_of_an_entry_s_port_goes_before_its_name():
    one = entry(ports=[{"name": "http", "number": 80, "protocol": "GRPC"}])
    assert next(entry_ports([one], "td")).protocol == "grpc"


def test_endpoints_of_an_entry():
    endpoints = [
        {"address": "10.0.0.1", "weight": 3, "locality": "r/z", "labels": {"v": "1"}},
        {"address": "10.0.0.2", "ports": {"http": 8081}},
        {"address": "unix:///run/app.sock"},
    ]
    found = places_of(endpoints=endpoints, ports=[{"name": "http", "number": 80, "targetPort": 8080}])
    assert found == (
        Place("10.0.0.1", 8080, 3, server_name="api.test", labels=(("v", "1"),), zone="r/z"),
        Place("10.0.0.2", 8081, server_name="api.test"),
        Place("/run/app.sock", 0, server_name="api.test"),
    )


@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN"])
def test_names_without_endpoints_are_their_own(resolution):
    found = places_of(hosts=["a.test", "*.b.test", "c.test"], resolution=resolution)
    assert [(each.address, each.server_name) for each in found] == [("a.test", "a.test"), ("c.test", "c.test")]


@pytest.mark.parametrize("resolution", ["STATIC", "NONE"])
def test_without_endpoints_or_dns_there_are_no_places(resolution):
    assert places_of(resolution=resolution) == ()


@pytest.mark.parametrize(("location", "mutual"), [("MESH_INTERNAL", True), ("MESH_EXTERNAL", False)])
def test_only_what_is_in_the_mesh_is_dialled_with_mutual_tls(location, mutual):
    assert places_of(location=location, endpoints=[{"address": "10.0.0.1"}])[0].mutual is mutual
    assert places_of(location=location, resolution="DNS")[0].mutual is mutual


def test_identities_are_the_endpoint_s_own_or_those_listed():
    found = places_of(
        location="MESH_INTERNAL",
        subjectAltNames=["spiffe://other/ns/a/sa/b", "api.test"],
        endpoints=[{"address": "10.0.0.1", "serviceAccount": "web"}, {"address": "10.0.0.2"}],
    )
    assert [each.identities for each in found] == [{"spiffe://td/ns/shop/sa/web"}, {"spiffe://other/ns/a/sa/b"}]


@pytest.mark.parametrize(
    ("host", "name"), [("*.b.test", ""), ("10.0.0.1", ""), ("b.test.", "b.test"), ("b.test", "b.test")]
)
def test_a_server_name_is_one_name_and_no_address(host, name):
    """As RFC 6066 section 3 has it; an address was asked for by name."""
    assert places_of(hosts=[host], endpoints=[{"address": "10.0.0.1"}])[0].server_name == name
    found = places_of(hosts=[host], resolution="DNS")
    assert [each.server_name for each in found] == ([] if host.startswith("*") else [name])


def test_the_endpoints_of_a_service_are_asked_for_by_its_name():
    [known] = ports_of(service(), slices=[endpoint_slice("10.0.0.1")], own="elsewhere")
    assert [each.server_name for each in known.places] == ["web.shop.svc.cluster.local"]


def test_a_name_that_no_handshake_could_carry_is_not_sent():
    name = "a" * 64
    [known] = ports_of(service(name=name), slices=[endpoint_slice("10.0.0.1", of=name)])
    assert [each.server_name for each in known.places] == [""]


def test_an_entry_is_asked_for_by_the_first_of_its_hosts_that_is_a_name():
    found = places_of(hosts=["*.b.test", "10.0.0.9", "c.test", "d.test"], endpoints=[{"address": "10.0.0.1"}])
    assert [each.server_name for each in found] == ["c.test"]
