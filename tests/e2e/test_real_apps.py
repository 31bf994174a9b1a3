"""nginx and Python's own HTTP server behind a pair of sidecars, curl and wrk in front: only the pair is ours."""

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import program, running, until
from support.wrk import Wrk

MIB = 1024 * 1024
LARGE = 64 * MIB
GROWTH = 24 * MIB  # what a sidecar may grow by while a body larger than that passes through
TEXT = random.Random(3).randbytes(MIB // 2).hex().encode()  # half of it is left when it is compressed
ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec:
      rules:
        - from: [{source: {principals: ["mesh.test/ns/default/sa/client"]}}]
"""
NGINX = """
    daemon off;
    USER
    worker_processes 1;
    pid FOLDER/nginx.pid;
    error_log FOLDER/error.log;
    events { worker_connections 512; }
    http {
        log_format reuse '$connection $connection_requests $request';
        access_log FOLDER/access.log reuse;
        client_body_temp_path FOLDER/bodies;
        proxy_temp_path FOLDER/proxy;
        fastcgi_temp_path FOLDER/fastcgi;
        uwsgi_temp_path FOLDER/uwsgi;
        scgi_temp_path FOLDER/scgi;
        client_max_body_size 128m;
        default_type text/plain;
        gzip on;
        gzip_proxied any;
        gzip_types text/plain;
        server {
            listen unix:FOLDER/app.sock;
            root FOLDER/www;
            location = /upload {
                client_body_in_file_only on;
                proxy_pass http://unix:FOLDER/sink.sock;
            }
            location = /tiny {
                client_max_body_size 10;
                proxy_pass http://unix:FOLDER/sink.sock;
            }
        }
        server {
            listen unix:FOLDER/sink.sock;
            return 200 "$http_content_length $http_transfer_encoding";
        }
    }
"""


@pytest.fixture(scope="module")
def www(tmp_path_factory):
    """What both servers serve."""
    folder = tmp_path_factory.mktemp("www")
    (folder / "index.html").write_bytes(b"hello")
    (folder / "text.txt").write_bytes(TEXT)
    (folder / "large").write_bytes(random.Random(7).randbytes(LARGE))
    return folder


@pytest.fixture(scope="module")
def nginx(tmp_path_factory, www):
    """nginx on a unix socket, in a folder of its own."""
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "www").symlink_to(www)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.replace("FOLDER", str(folder)).replace("USER", user))
    argv = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with running(argv, folder / "nginx.log") as process:
        process.folder = folder
        until((folder / "app.sock").exists, 10, "nginx")
        yield process


@pytest.fixture(scope="module")
def python_server(tmp_path_factory, www):
    """`python -m http.server`, which speaks HTTP/1.0 and ends a body by closing the connection."""
    argv = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(www)]
    with running(argv, tmp_path_factory.mktemp("python") / "server.log") as process:
        told = until(lambda: re.search(r"port (\d+)", process.log), 10, "http.server")
        process.address = f"127.0.0.1:{told[1]}"
        yield process


@pytest.fixture(scope="module")
def pair(shared_mesh, nginx, python_server):
    """The client's sidecar; both apps are behind the server's."""
    shared_mesh.policy("allow", ALLOW)
    apps = (f"unix:{nginx.folder}/app.sock", python_server.address)
    server = shared_mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": app} for app in apps])
    for number, host in enumerate(("nginx.test", "python.test")):
        shared_mesh.entry(host, server.address(f"inbound-{number}"), mesh=True, account="server")
    client = shared_mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
    client.beside = server
    yield client
    for sidecar in (client, server):
        assert "Traceback" not in sidecar.log


@pytest.fixture(params=["nginx.test", "python.test"])
def host(request):
    return request.param


def curl(*arguments, env=None, data=None):
    """What curl prints. It fails the test when curl fails."""
    argv = [program("curl"), "-sS", "--max-time", "60", *arguments]
    done = subprocess.run(argv, input=data, capture_output=True, timeout=90, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def call(pair, host, path, *arguments, data=None):
    """Status, fields and body of one request through both sidecars; interim responses are left out."""
    out = curl("-i", "-H", f"Host: {host}", *arguments, f"http://{pair.address('outbound-0')}{path}", data=data)
    while True:
        head, _, body = out.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        if not lines[0].startswith("HTTP/1.1 1"):
            break
        out = body
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), fields, body


def peak(sidecar):
    """The most memory that any process of a sidecar has had, in octets."""
    statuses = (Path(f"/proc/{pid}/status").read_text() for pid in {sidecar.pid} | children(sidecar.pid))
    kilobytes = (re.search(r"VmHWM:\s+(\d+)", status) for status in statuses)
    return max(int(found[1]) for found in kilobytes) * 1024


def children(pid):
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_get_head_and_what_is_not_there(pair, host):
    assert call(pair, host, "/text.txt")[::2] == (200, TEXT)
    status, fields, body = call(pair, host, "/text.txt", "-I")
    assert (status, fields["content-length"], body) == (200, str(len(TEXT)), b"")
    status, fields, _ = call(pair, host, "/missing")
    assert status == 404
    assert "proxy-status" not in fields  # the app said so, not a sidecar


def test_what_an_app_refuses_comes_from_the_app(pair, host):
    status, fields, _ = call(pair, host, "/text.txt", "-d", "body")
    assert status == {"nginx.test": 405, "python.test": 501}[host]
    assert "proxy-status" not in fields


def test_what_has_not_changed_has_no_body(pair, host):
    since = call(pair, host, "/text.txt")[1]["last-modified"].title().replace("Gmt", "GMT")
    assert call(pair, host, "/text.txt", "-H", f"If-Modified-Since: {since}")[::2] == (304, b"")


@pytest.mark.slow
def test_a_large_body_arrives_whole_and_is_never_held(pair, host, www):
    before = [peak(sidecar) for sidecar in (pair, pair.beside)]
    status, _, body = call(pair, host, "/large")
    assert (status, len(body)) == (200, LARGE)
    assert digest(body) == digest((www / "large").read_bytes())
    grown = [peak(sidecar) - was for sidecar, was in zip((pair, pair.beside), before, strict=True)]
    assert max(grown) < GROWTH


@pytest.mark.slow
def test_a_slow_reader_holds_the_app_back(pair, nginx):
    before = peak(pair)
    status, _, body = call(pair, "nginx.test", "/large", "--limit-rate", "16M", "-r", "0-25165823")
    assert (status, len(body)) == (206, 24 * MIB)
    assert peak(pair) - before < GROWTH // 2


@pytest.mark.slow
@pytest.mark.parametrize("way", ["length", "chunked"])
def test_a_large_upload_arrives_whole_and_is_never_held(pair, nginx, www, way):
    before = [peak(sidecar) for sidecar in (pair, pair.beside)]
    there = set((nginx.folder / "bodies").iterdir())
    options = ["-H", "Transfer-Encoding: chunked"] if way == "chunked" else []
    status, _, told = call(pair, "nginx.test", "/upload", "-X", "POST", "-T", str(www / "large"), *options)
    assert (status, told.split()[0]) == (200, str(LARGE).encode())  # nginx had all of it before it passed it on
    (stored,) = set((nginx.folder / "bodies").iterdir()) - there
    assert digest(stored.read_bytes()) == digest((www / "large").read_bytes())
    stored.unlink()
    grown = [peak(sidecar) - was for sidecar, was in zip((pair, pair.beside), before, strict=True)]
    assert max(grown) < GROWTH


def test_ranges(pair, nginx, www):
    status, fields, body = call(pair, "nginx.test", "/text.txt", "-r", "100-199")
    assert (status, body) == (206, TEXT[100:200])
    assert fields["content-range"] == f"bytes 100-199/{len(TEXT)}"
    status, fields, body = call(pair, "nginx.test", "/text.txt", "-r", "0-1,10-11")
    assert status == 206
    assert fields["content-type"].startswith("multipart/byteranges")
    assert body.count(b"content-range") + body.count(b"Content-Range") == 2
    assert call(pair, "nginx.test", "/text.txt", "-r", "9999999-")[0] == 416


def test_a_body_of_unknown_length_is_chunked(pair, nginx):
    status, fields, body = call(pair, "nginx.test", "/text.txt", "--compressed")
    assert (status, body) == (200, TEXT)
    assert (fields["transfer-encoding"], fields["content-encoding"]) == ("chunked", "gzip")


def test_expect_continue(pair, nginx):
    url = f"http://{pair.address('outbound-0')}"
    given = ["-i", "-H", "Host: nginx.test", "-H", "Expect: 100-continue", "--data-binary", "@-"]
    out = curl(*given, f"{url}/upload", data=b"x" * 5000)
    assert out.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    out = curl(*given, "--expect100-timeout", "30", "-w", "%{size_upload}", f"{url}/tiny", data=b"x" * 5000)
    assert out.startswith(b"HTTP/1.1 413 ")
    assert out.endswith(b"0")  # refused before a single octet of it was sent


def test_by_the_environment_and_through_a_tunnel(pair, host):
    proxy = f"http://{pair.address('outbound-0')}"
    env = {"PATH": os.environ["PATH"], "http_proxy": proxy}
    assert curl(f"http://{host}/index.html", env=env) == b"hello"
    assert curl("-p", "-x", proxy, f"http://{host}/index.html") == b"hello"


def test_connections_are_kept_on_every_leg(pair, nginx):
    address = pair.address("outbound-0")
    urls = [f"http://{address}/index.html?kept={number}" for number in range(5)]
    assert curl("-H", "Host: nginx.test", "-w", "%{num_connects}", *urls) == b"hello1" + b"hello0" * 4
    log = until(lambda: len(found := kept(nginx)) == 5 and found, 5, "the access log")
    assert len({connection for connection, _ in log}) < 5
    assert max(int(number) for _, number in log) > 1


def kept(nginx):
    """Connection, and the request's number on it, of what the test above asked for."""
    return re.findall(r"(\d+) (\d+) GET \S*\?kept=", (nginx.folder / "access.log").read_text())


@pytest.mark.slow
def test_wrk_sees_no_error(pair, nginx):
    with Wrk(pair.address("outbound-0"), "/index.html", host="nginx.test", seconds=3) as wrk:
        tally = wrk.tally()
    assert tally.requests > 32  # more than one on each connection
    assert tally.errors == 0


@pytest.mark.slow
def test_an_app_that_replaces_its_workers_costs_no_request(pair, nginx):
    """nginx closes its idle connections when it reloads; a GET that runs into that goes out again."""
    with Wrk(pair.address("outbound-0"), "/index.html", host="nginx.test", seconds=3) as wrk:
        for _ in range(3):
            before = children(nginx.pid)
            nginx.signal(signal.SIGHUP)
            until(lambda gone=before: not gone & children(nginx.pid), 10, "new workers")
        tally = wrk.tally()
    assert tally.requests > 32  # more than one on each connection
    assert tally.errors == 0
