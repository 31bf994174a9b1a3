"""An authorizer outside means the same to Envoy's ext_authz filter and to a sidecar: the same authorizer, by gRPC or
over HTTP, is asked about the same requests through either, and what it says has the same effect.

Where ours does something else the test at the end says why.
"""

import http.client
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.conftest import Mesh
from peers.test_envoy import TYPE, envoy_binary
from support.grpc_authorizer import Authorizer, by_the_path
from support.origin import Origin, ok
from support.processes import Running, free_port, until

PARTIAL = {"maxRequestBytes": 8, "allowPartialMessage": True}
STRICT = {"maxRequestBytes": 8}
TIMEOUT = "0.4s"
# By the name of the host that a request is for: how its authorizer is asked.
WAYS = {
    "grpc": ("Grpc", {}),
    "grpc-partial": ("Grpc", {"includeRequestBodyInCheck": PARTIAL}),
    "grpc-octets": ("Grpc", {"includeRequestBodyInCheck": PARTIAL | {"packAsBytes": True}}),
    "grpc-strict": ("Grpc", {"includeRequestBodyInCheck": STRICT, "failOpen": True}),
    "grpc-open": ("Grpc", {"failOpen": True, "statusOnError": "500"}),
    "http-partial": ("Http", {"includeRequestBodyInCheck": PARTIAL, "headersToUpstreamOnAllow": ["x-user"]}),
    "http-strict": ("Http", {"includeRequestBodyInCheck": STRICT, "pathPrefix": "/check"}),
}
HEADERS = {f"X-There-{number}": "old" for number in range(7)} | {"X-A": "0"}


def answer(wire, request):
    """The authorizer over HTTP."""
    if request.target.startswith("/denied"):
        wire.sock.sendall(b"HTTP/1.1 401 No\r\nx-why: no\r\ncontent-length: 2\r\n\r\nno")
    else:
        gone = b"x-envoy-auth-headers-to-remove: x-there-0, x-a"
        wire.sock.sendall(ok(b"", b"x-user: alice", gone))


def app(wire, request):
    """Answers with fields that an authorizer may want to be otherwise."""
    wire.sock.sendall(ok(b"app", *[b"x-there-%d: old" % number for number in range(7)]))


def envoy_filter(kind, given, cluster):
    """The filter as istiod writes it for such a provider."""
    body, more = given.get("includeRequestBodyInCheck"), {}
    if body:
        more["with_request_body"] = {
            "max_request_bytes": body["maxRequestBytes"],
            "allow_partial_message": body.get("allowPartialMessage", False),
            "pack_as_bytes": body.get("packAsBytes", False),
        }
    if kind == "Grpc":
        more["grpc_service"] = {"envoy_grpc": {"cluster_name": cluster, "authority": "door.test"}, "timeout": TIMEOUT}
    else:
        more["http_service"] = {
            "server_uri": {"uri": "http://door.test", "cluster": cluster, "timeout": TIMEOUT},
            "path_prefix": given.get("pathPrefix", ""),
        }
        if upstream := [{"exact": each} for each in given.get("headersToUpstreamOnAllow", ())]:
            response = {"allowed_upstream_headers": {"patterns": upstream}}
            more["http_service"]["authorization_response"] = response
    return {
        "@type": f"{TYPE}filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": given.get("failOpen", False),
        "status_on_error": {"code": int(given.get("statusOnError", "403"))},
        **more,
    }


def cluster(name, address, *, http2=False):
    host, _, port = address.rpartition(":")
    endpoint = {"address": {"socket_address": {"address": host, "port_value": int(port)}}}
    made = {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }
    if http2:
        options = f"{TYPE}upstreams.http.v3.HttpProtocolOptions"
        explicit = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
        made["typed_extension_protocol_options"] = {options.removeprefix("type.googleapis.com/"): explicit}
    return made


def listener(name, port, ext_authz):
    router = {"@type": f"{TYPE}filters.http.router.v3.Router"}
    manager = {
        "@type": f"{TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}
            ]
        },
        "http_filters": [{"name": "authz", "typed_config": ext_authz}, {"name": "router", "typed_config": router}],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }


class World:
    """One app behind both, and the same two authorizers."""

    def __init__(self, folder, app, door, web_door):
        self.app, self.door, self.web_door = app, door, web_door
        self.mesh = Mesh(folder)
        self._processes = []
        self.theirs = self._envoy(folder)
        self.ours = self._sidecar()

    def _envoy(self, folder):
        ports = {way: free_port() for way in WAYS}
        doors = {"Grpc": "door", "Http": "web-door"}
        listeners = [
            listener(way, ports[way], envoy_filter(kind, given, doors[kind])) for way, (kind, given) in WAYS.items()
        ]
        clusters = [
            cluster("app", self.app.address),
            cluster("door", self.door.address, http2=True),
            cluster("web-door", self.web_door.address),
        ]
        config = folder / "envoy.json"
        config.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}))
        argv = [envoy_binary(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        envoy = Running(argv, folder / "envoy.log")
        self._processes.append(envoy)
        try:
            until(lambda: send(ports["grpc"], "grpc", "GET", "/nothing"), 15)
        except TimeoutError:
            pytest.fail(f"Envoy does not listen: {envoy.log}")
        return ports

    def _sidecar(self):
        mesh = self.mesh
        mesh.policy(
            "plain",
            "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: plain},"
            " spec: {mtls: {mode: DISABLE}}}",
        )
        mesh.entry("door.test", self.door.address, protocol="GRPC")
        mesh.entry("web-door.test", self.web_door.address)
        providers = []
        for way, (kind, given) in WAYS.items():
            service = "door.test" if kind == "Grpc" else "web-door.test"
            common = {"service": service, "port": 80, "timeout": TIMEOUT}
            providers.append({"name": way, f"envoyExtAuthz{kind}": common | given})
            spec = {
                "action": "CUSTOM",
                "provider": {"name": way},
                "rules": [{"to": [{"operation": {"hosts": [f"{way}.test"]}}]}],
            }
            document = {
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": way},
                "spec": spec,
            }
            mesh.policy(way, json.dumps(document))
        inbound = [{"listen": "127.0.0.1:0", "app": self.app.address}]
        sidecar = mesh.run("server", inbound=inbound, extensionProviders=providers)
        port = int(sidecar.address("inbound-0").rpartition(":")[2])
        return dict.fromkeys(WAYS, port)

    def close(self):
        self.mesh.close()
        for process in self._processes:
            process.stop()

    def both(self, way, method, target, body=None):
        """What became of a request through either: Envoy's, then ours."""
        return [self._one(ports[way], way, method, target, body) for ports in (self.theirs, self.ours)]

    def _one(self, port, way, method, target, body):
        self.app.take(), self.door.take(), self.web_door.take()
        status, headers, content = send(port, way, method, target, body)
        told = sorted((name, value) for name, value in headers if name.startswith("x-") or name in TOLD)
        found = {"status": status, "told": [each for each in told if each[0] not in OWN]}
        if status in (200, 401, 418):  # others have a body of the proxy's own
            found["content"] = content, dict(headers).get("content-type")
        found["app"] = [seen_by_app(request) for request in self.app.take()]
        found["asked"] = [seen_by_grpc(each) for each in self.door.take()]
        found["asked over HTTP"] = [seen_by_http(each) for each in self.web_door.take()]
        return found


TOLD = ("location", "set-cookie", "www-authenticate")
OWN = {
    "x-envoy-internal",
    "x-envoy-upstream-service-time",
    "x-envoy-expected-rq-timeout-ms",
    "x-request-id",
    "x-forwarded-proto",
    "x-forwarded-for",
    "x-forwarded-client-cert",
}


def send(port, way, method, target, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    chunked = isinstance(body, list)
    headers = HEADERS | {"Host": f"{way}.test"} | ({"Transfer-Encoding": "chunked"} if chunked else {})
    connection.request(method, target, iter(body) if chunked else body, headers, encode_chunked=chunked)
    found = connection.getresponse()
    content = found.read()
    connection.close()
    return found.status, [(name.lower(), value) for name, value in found.getheaders()], content


def fields(headers):
    """Those of a request that tests are about; as one list for each name, for it is the same on the wire."""
    found = {}
    for name, value in headers:
        if name.lower().startswith("x-") and name.lower() not in OWN:
            found[name.lower()] = ",".join([*found.get(name.lower(), "").split(","), value]).lstrip(",")
    return found


def seen_by_app(request):
    path, _, query = request.target.partition("?")
    return request.method, path, sorted(query.split("&")), fields(request.headers), request.body


def seen_by_http(request):
    return request.method, request.target, fields(request.headers), request.body


def seen_by_grpc(attributes):
    http = attributes.request.http
    headers = {name: value for name, value in http.headers.items() if name in (":path", ":method", ":authority")}
    names = [name for name in ("source", "destination") if getattr(attributes, name).address.socket_address.port_value]
    told = http.method, http.path, http.host, http.scheme, http.protocol, http.body, http.raw_body
    return told, headers | fields(http.headers.items()), names


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Origin(app) as behind, Authorizer(by_the_path) as door, Origin(answer) as web_door:
        made = World(tmp_path_factory.mktemp("authz"), behind, door, web_door)
        yield made
        made.close()


PATHS = [
    "/nothing",
    "/edit",
    "/in-turn",
    "/set-and-remove",
    "/query?a=1&b=2&a=3&c=",
    "/query",
    "/tell",
    "/denied",
    "/denied-with-ok",
    "/ok-with-denied",
    "/teapot",
    "/moved",
    "/could-not",
    "/could-not-say",
    "/break",
    "/hang",
]


@pytest.mark.slow
@pytest.mark.parametrize("target", PATHS)
def test_every_answer_has_the_same_effect(world, target):
    theirs, ours = world.both("grpc", "GET", target)
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("target", ["/break", "/hang", "/could-not", "/denied", "/teapot"])
def test_failing_open(world, target):
    theirs, ours = world.both("grpc-open", "GET", target)
    assert ours == theirs


BODIES = {
    "none": None,
    "empty": b"",
    "small": b"small",
    "exact": b"8 octets",
    "large": b"larger than eight",
    "no text": b"\xff\xfe \xe2\x82",
    "chunks": [b"in ", b"chunk"],
    "many chunks": [b"larger ", b"than", b" eight"],
}


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("way", [way for way, (_, given) in WAYS.items() if "includeRequestBodyInCheck" in given])
def test_bodies_are_shown_alike_and_go_on_whole(world, way, body):
    theirs, ours = world.both(way, "POST", "/nothing", body)
    assert ours == theirs


@pytest.mark.slow
def test_a_refusal_over_http(world):
    theirs, ours = world.both("http-partial", "POST", "/denied", b"larger than eight")
    assert ours == theirs


# Envoy writes the whole query anew when an authorizer edits one parameter of it; ours leaves the others as they came.
@pytest.mark.slow
def test_what_an_edited_query_makes_of_the_others(world):
    theirs, ours = world.both("grpc", "GET", "/query?c&b=2&d=%41")
    assert [each["app"][0][2] for each in (theirs, ours)] == [
        ["a=9", "c=", "d=%41", "n=0"],
        ["a=9", "c", "d=%41", "n=0"],
    ]


# Envoy lets an authorizer say where a request goes; ours, whose policies decide about exactly what is forwarded, takes
# an answer that tries for none.
@pytest.mark.slow
def test_the_path_is_not_the_authorizers_to_say(world):
    theirs, ours = world.both("grpc", "GET", "/elsewhere")
    assert (theirs["status"], theirs["app"][0][1]) == (200, "/admin")
    assert (ours["status"], ours["app"]) == (403, [])
