"""What deploy/compose.yaml starts, on loopback and on free ports: its script, its documents, its apps."""

import http.client
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.processes import Sidecar, free_port, running, until

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
ACCOUNTS = ("storefront", "reviews")


def ask(address, method="GET"):
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, "/7", headers={"host": "storefront"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.slow
def test_certificates_are_issued_once_and_the_mesh_runs_on_them(tmp_path):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run(["sh", DEPLOY / "issue-certificates.sh", tmp_path / "mesh"], env=env, check=True, timeout=60)
    serials = (tmp_path / "mesh/shop.reviews/tls.crt").read_bytes()
    ports = {name: free_port() for name in ("reviews", "storefront")}
    for name in ACCOUNTS:
        for part in ("proxies", "policies"):
            shutil.copytree(DEPLOY / part, tmp_path / name / part)
        (tmp_path / name / "identity").symlink_to(tmp_path / f"mesh/shop.{name}")
    with running(app(SERVICES["reviews"], "8080", ports["reviews"]), tmp_path / "reviews.log"):
        reviews = start(tmp_path, "reviews", ports)
        listens = reviews.address("inbound-0").rpartition(":")[2]
        entry = tmp_path / "storefront/policies/services.yaml"
        text = entry.read_text().replace("address: reviews", "address: localhost").replace("15006", listens)
        entry.write_text(text)
        storefront = start(tmp_path, "storefront", ports)
        try:
            argv = app(SERVICES["storefront"], "8080", ports["storefront"])
            argv = [word.replace("127.0.0.1:15001", storefront.address("outbound-0")) for word in argv]
            with running(argv, tmp_path / "storefront.log") as front:
                until(lambda: str(ports["storefront"]) in front.log, 15, "storefront")
                address = storefront.address("inbound-0")
                status, body = ask(address)
                assert (status, "ns/shop/sa/storefront" in body) == (200, True), storefront.log + reviews.log
                assert ask(address, "DELETE")[0] == 403
        finally:
            assert [storefront.stop(), reviews.stop()] == [0, 0]
    assert (tmp_path / "mesh/shop.reviews/tls.crt").read_bytes() == serials


def app(service, given, port):
    """The command of a container, by this Python and on this port."""
    argv = [sys.executable if word == "python" else str(word) for word in service["entrypoint"]]
    assert argv[-1] == given
    return [*argv[:-1], str(port)]


def start(top, name, ports):
    """The sidecar of `name` by its own document, on free ports."""
    fields = {"inbound[0].listen": "127.0.0.1:0", "inbound[0].app": f"127.0.0.1:{ports[name]}"}
    fields |= {"admin.listen": "127.0.0.1:0", "telemetry.otlp": "null"}
    if name == "storefront":
        fields["outbound[0].listen"] = "127.0.0.1:0"
    settings = [word for field, value in fields.items() for word in ("--set", f"spec.{field}={value}")]
    return Sidecar(top / name / f"proxies/{name}.yaml", *settings).wait_ready()
