"""An upstream of HTTP/2 that ends its connections after a few requests, as nginx does: what it left goes again."""

import re
import subprocess
import textwrap

import pytest
from support.processes import free_port, program, running, until

MANY = 2000
POLICY = """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: few, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: few-test}]
      retry: {attempts: 0, budget: {percent: 0, minPerSecond: 0}}
"""


@pytest.fixture
def nginx(tmp_path):
    """nginx that serves HTTP/2 without TLS, fifty requests a connection; its address and its access log."""
    port, log = free_port(), tmp_path / "nginx.log"
    config = tmp_path / "nginx.conf"
    config.write_text(
        textwrap.dedent(f"""
            daemon off;
            master_process off;
            pid {tmp_path}/nginx.pid;
            error_log stderr;
            events {{}}
            http {{
                access_log {log};
                client_body_temp_path {tmp_path}/body;
                proxy_temp_path {tmp_path}/proxy;
                fastcgi_temp_path {tmp_path}/fastcgi;
                uwsgi_temp_path {tmp_path}/uwsgi;
                scgi_temp_path {tmp_path}/scgi;
                keepalive_requests 50;
                server {{
                    listen 127.0.0.1:{port} http2;
                    location / {{ return 200 "ok"; }}
                }}
            }}
        """)
    )
    with running([program("nginx"), "-c", str(config), "-p", str(tmp_path)], tmp_path / "nginx.err"):
        until(log.exists, what="nginx is there")
        yield f"127.0.0.1:{port}", log


def asked(log):
    return len(log.read_text().splitlines())


def test_nginx_that_leaves_after_fifty_requests_costs_neither_answers_nor_retries(mesh, nginx, tmp_path):
    address, log = nginx
    mesh.entry("few.test", address, protocol="HTTP2")
    mesh.policy("few", POLICY)
    sidecar = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
    body = tmp_path / "octets"
    body.write_bytes(b"x" * 100)
    target = f"http://{sidecar.address('outbound-0')}/"
    argv = [
        program("h2load"),
        "-n",
        str(MANY),
        "-c",
        "4",
        "-m",
        "20",
        "-d",
        str(body),
        "-H",
        ":authority: few.test",
        target,
    ]
    told = subprocess.run(argv, capture_output=True, check=True, timeout=120, text=True).stdout
    assert re.search(rf"{MANY} succeeded, 0 failed", told), told
    assert f"{MANY} 2xx" in told
    asked = until(
        lambda: len(log.read_text().splitlines()) >= MANY and log.read_text().splitlines(), what="all is logged"
    )
    assert len(asked) == MANY
