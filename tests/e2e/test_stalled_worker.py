"""A worker that stands still is killed after ten seconds: no record that it made is lost, and the log names what it was
serving."""

import http.client
import json
import os
import signal
import socket
import threading

import pytest
from support.origin import Origin, always_ok
from support.processes import until

PLAIN = """
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: plain, namespace: default}
    spec: {mtls: {mode: DISABLE}}
"""
ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: all, namespace: default}
    spec: {rules: [{}]}
"""


def page(sidecar, path):
    connection = http.client.HTTPConnection(sidecar.address("admin").removeprefix("http://").strip("/"), timeout=20)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def logged(path):
    return [json.loads(line)["path"].partition("?")[0] for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_the_watchdog_loses_no_record_and_names_the_request(mesh, tmp_path):
    answered = threading.Event()

    def behaviour(wire, request):
        if request.target.startswith("/slow"):
            answered.wait(60)
        always_ok(wire, request)

    log = tmp_path / "access.log"
    mesh.policy("plain", PLAIN)
    mesh.policy("allow", ALLOW)
    with Origin(behaviour) as app:
        sidecar = mesh.run(
            "svc",
            identity=None,
            inbound=[{"listen": "127.0.0.1:0", "app": app.address}],
            telemetry={"otlp": None, "accessLog": {"path": str(log)}},
        )
        (worker,) = [each["pid"] for each in page(sidecar, "/server_info")["workers"]]
        host, port = sidecar.address("inbound-0").rsplit(":", 1)
        with socket.create_connection((host, int(port)), 20) as slow:
            slow.sendall(b"GET /slow?token=secret HTTP/1.1\r\nHost: svc\r\n\r\n")
            until(lambda: any(each.target.startswith("/slow") for each in app.requests), 20)
            client = http.client.HTTPConnection(host, int(port), timeout=20)
            for number in range(20):
                client.request("GET", f"/{number}")
                assert client.getresponse().read() is not None
            os.kill(worker, signal.SIGSTOP)  # within half a second: the records are still in its memory
            until(lambda: page(sidecar, "/server_info")["workers"][0]["restarts"] == 1, 40, "the watchdog")
            client.close()
        answered.set()
        until(lambda: set(logged(log)) >= {f"/{number}" for number in range(20)} | {"/slow"}, 20, "the access log")
        sidecar.stop()
    assert sorted(logged(log)) == sorted([*(f"/{number}" for number in range(20)), "/slow"])
    assert "GET /slow of svc from 127.0.0.1:" in sidecar.log
    assert "secret" not in sidecar.log
