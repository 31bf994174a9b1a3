"""What Prometheus' own tool says of the page that it is to read."""

import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.conftest import Mesh
from support.origin import Origin
from support.processes import free_port, program, running, until


@pytest.fixture(scope="module")
def promtool():
    return program("promtool")


def check(promtool, page):
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def page_of(folder, **telemetry):
    """The metrics of a sidecar that has done some of everything."""
    mesh = Mesh(folder)
    try:
        with Origin() as origin:
            mesh.entry("reviews.test", origin.address)
            sidecar = mesh.run("one", outbound=[{"listen": "127.0.0.1:0"}], telemetry={"otlp": None, **telemetry})
            for host in ("reviews.test", "nowhere.test"):
                asked = urllib.request.Request(f"http://{sidecar.address('outbound-0')}/", headers={"host": host})
                with contextlib.suppress(urllib.error.HTTPError):  # nobody knows the second
                    urllib.request.urlopen(asked, timeout=20).read()

            def page():
                with urllib.request.urlopen(f"http://{sidecar.address('admin')}/metrics", timeout=20) as answer:
                    text = answer.read().decode()
                return text if "http_client_request_duration_seconds_count" in text else None

            return until(page, 30, "metrics")
    finally:
        mesh.close()


def test_the_page_is_clean(promtool, tmp_path):
    page = page_of(tmp_path)
    assert "meshd_exchanges_total{" in page
    assert check(promtool, page) == (0, "")


def test_istios_names_are_on_it_only_when_asked_for_and_are_all_that_is_objected_to(promtool, tmp_path):
    page = page_of(tmp_path, istioMetrics=True)
    assert 'destination_service="reviews.test"' in page
    code, said = check(promtool, page)
    assert code == 3
    assert said == 'istio_request_duration_milliseconds use base unit "seconds" instead of "milliseconds"'


def test_a_real_prometheus_reads_it(tmp_path):
    """In the format that it asks for itself, with examples and all."""
    server = program("prometheus")
    mesh = Mesh(tmp_path)
    port = free_port()
    try:
        with Origin() as origin:
            mesh.entry("reviews.test", origin.address)
            telemetry = {"otlp": None, "istioMetrics": True}
            sidecar = mesh.run("one", outbound=[{"listen": "127.0.0.1:0"}], telemetry=telemetry)
            job = {"job_name": "meshd", "static_configs": [{"targets": [sidecar.address("admin")]}]}
            config = tmp_path / "prometheus.yml"
            config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
            argv = [server, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
            argv += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]

            def query(path):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=10) as answer:
                    return json.loads(answer.read())["data"]

            with running(argv, tmp_path / "prometheus.log") as process:
                asked = urllib.request.Request(
                    f"http://{sidecar.address('outbound-0')}/", headers={"host": "reviews.test"}
                )
                urllib.request.urlopen(asked, timeout=20).read()
                name = "http_server_request_duration_seconds_count"
                until(lambda: query(f"query?query={name}")["result"], 60, f"it has scraped: {process.log}")
                (up,) = query("query?query=up")["result"]
                assert up["value"][1] == "1"
                until(lambda: query("query?query=meshd_exchanges_total")["result"], 30, "counters")
                until(lambda: query("query?query=istio_requests_total")["result"], 30, "Istio's names")
                duration = "http_server_request_duration_seconds_bucket"
                found = until(lambda: query(f"query_exemplars?query={duration}&start=0&end=9999999999"), 30, "examples")
                assert len(found[0]["exemplars"][0]["labels"]["trace_id"]) == 32
    finally:
        mesh.close()
