"""Servers that serve one connection at a time: a sidecar that kept one open would freeze them for everybody else."""

import http.client
import sys
import threading
import time

import pytest
from support.origin import Origin
from support.processes import free_port, running, until

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: all, namespace: default}
    spec: {rules: [{}]}
"""
PLAIN = """
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: plain, namespace: default}
    spec: {mtls: {mode: DISABLE}}
"""
PATIENCE = 3.0  # seconds; a frozen server answers after a minute, when the idle connection is given up
HTTP_SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class App(BaseHTTPRequestHandler):
    protocol_version = sys.argv[2]
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
"""
WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("content-length", "2")])
    return [b"ok"]
"""
WSGIREF = WSGI + (
    "import sys\nfrom wsgiref.simple_server import make_server\n"
    "make_server('127.0.0.1', int(sys.argv[1]), app).serve_forever()\n"
)
APPS = {
    "http.server with keep-alive": ["-c", HTTP_SERVER, "PORT", "HTTP/1.1"],
    "http.server": ["-c", HTTP_SERVER, "PORT", "HTTP/1.0"],
    "wsgiref": ["-c", WSGIREF, "PORT"],
    "gunicorn with a sync worker": ["-m", "gunicorn", "-b", "127.0.0.1:PORT", "-w", "1", "-k", "sync", "wsgi:app"],
}


def get(address):
    """Seconds until a response, on a connection of its own."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/", headers={"host": "app.test"})
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"ok")
    connection.close()
    return time.perf_counter() - began


@pytest.fixture(params=APPS, ids=lambda name: name.replace(" ", "-"))
def app(request, tmp_path):
    """One of these servers, listening."""
    (tmp_path / "wsgi.py").write_text(WSGI)
    port = free_port()
    argv = [sys.executable, *[each.replace("PORT", str(port)) for each in APPS[request.param]]]
    with running(argv, tmp_path / "app.log", cwd=tmp_path) as process:
        address = f"127.0.0.1:{port}"
        until(lambda: get(address), what=f"{request.param} serves: {process.log}")
        yield address


@pytest.mark.parametrize("reached", ["by its own sidecar", "without a sidecar"])
def test_an_app_that_serves_one_connection_at_a_time_still_answers_its_probes(app, mesh, reached):
    mesh.policy("allow", ALLOW)
    mesh.policy("plain", PLAIN)
    mesh.entry("app.test", app)
    sidecar = mesh.run(
        "server", inbound=[{"listen": "127.0.0.1:0", "app": app}], outbound=[{"listen": "127.0.0.1:0"}], workers=2
    )
    ours = sidecar.address("inbound-0" if reached == "by its own sidecar" else "outbound-0")
    assert get(app) < PATIENCE  # before there was a request
    for _ in range(3):
        assert get(ours) < PATIENCE
        assert get(app) < PATIENCE
    failures = []

    def call():
        try:
            for _ in range(20):
                assert get(ours) < PATIENCE
        except (OSError, AssertionError) as error:
            failures.append(error)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        assert get(app) < PATIENCE
    for caller in callers:
        caller.join()
    assert not failures
    assert get(app) < PATIENCE


def test_an_app_that_serves_many_keeps_its_connections(mesh):
    """The other side of it: two requests in quick succession show that this is such an app."""
    mesh.policy("allow", ALLOW)
    mesh.policy("plain", PLAIN)
    with Origin() as origin:
        sidecar = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        connection = http.client.HTTPConnection(sidecar.address("inbound-0"), timeout=20)
        assert origin.connections == 0  # nobody has asked for anything

        def reused():
            before = origin.connections
            for _ in range(20):
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"ok"
            return origin.connections == before

        until(reused, what="twenty requests on connections that were there")
        connection.close()
