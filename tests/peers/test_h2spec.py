"""Every case of h2spec against the HTTP/2 of running sidecars: both kinds of listener, both libraries beneath."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.conftest import Mesh
from support.http2 import OPENING, frames
from support.origin import Origin, ok
from support.processes import Sidecar
from support.shared import shared_folder
from support.wire import RawClient

from meshd.http.h2_events import Code
from meshd.http.h2_frames import END_HEADERS, END_STREAM, Kind, frame
from meshd.http.h2_library import NAMES

GROUPS = ("generic", "http2", "hpack")
NOT_RELEASED = [0, 0, 1]  # cases that are in the source but in no release: the second of hpack 2.3.3
# What is no preface of HTTP/2 may be HTTP/1.1 where no TLS has agreed on either, and is answered in it: 400, then the
# end. h2spec wants the end alone, or a GOAWAY; https://github.com/summerwind/h2spec/issues/122 says why that is wrong.
ALSO_HTTP1 = "http2/3.5 Sends invalid connection preface"
PLAIN = """
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: plain, namespace: default}
    spec: {mtls: {mode: DISABLE}}
"""


def h2spec() -> str:
    """The program, in the folder that H2SPEC_FOLDER names or on the path; it has no client certificates."""
    found = shutil.which("h2spec", path=os.environ.get("H2SPEC_FOLDER")) or shutil.which("h2spec")
    if not found:
        pytest.skip("h2spec is not installed")
    return found


@pytest.fixture(scope="module", params=NAMES)
def addresses(request, tmp_path_factory):
    """Where sidecars speak HTTP/2 without TLS: `outbound` and `inbound`."""
    h2spec()
    mesh = Mesh(tmp_path_factory.mktemp(request.param))
    with Origin(lambda wire, asked: wire.sock.sendall(ok(b"" if asked.method == "HEAD" else b"x" * 1024))) as origin:
        mesh.policy("plain", PLAIN)
        mesh.entry("reviews.test", origin.address)
        sidecar = Sidecar(
            mesh.document(
                "both",
                outbound=[{"listen": "127.0.0.1:0", "service": "reviews.test:80"}],
                inbound=[{"listen": "127.0.0.1:0", "app": origin.address}],
            ),
            env={"MESHD_H2": request.param},
        )
        mesh.sidecars.append(sidecar)
        sidecar.wait_ready()
        yield {kind: sidecar.address(f"{kind}-0") for kind in ("outbound", "inbound")}
        mesh.close()


def verdicts(group: str, address: str, report: Path) -> tuple[int, list[str]]:
    """How many cases of the group ran, and those that did not pass, each with what was expected and what came."""
    host, _, port = address.rpartition(":")
    argv = [h2spec(), group, "--strict", "-h", host, "-p", port, "-o", "3", "-j", str(report)]
    subprocess.run(argv, capture_output=True, check=False, timeout=120)
    found = list(ET.parse(report).iter("testcase"))
    wrong = []
    for case in found:
        bad = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        if bad is not None:
            wrong.append(f"{case.get('package')} {case.get('classname')}: {bad.tag} {''.join(bad.itertext()).strip()}")
    return len(found), wrong


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["outbound", "inbound"])
def test_every_case(addresses, kind, tmp_path):
    def judge(group):
        return verdicts(group, addresses[kind], tmp_path / f"{group}.xml")

    with ThreadPoolExecutor(len(GROUPS)) as pool:
        ran, wrong = zip(*pool.map(judge, GROUPS), strict=True)
    listed = json.loads((shared_folder("cases") / "h2spec_cases.json").read_text())["meta"]["counts"]
    missing = [listed[group] - count for group, count in zip(GROUPS, ran, strict=True)]
    assert missing in ([0, 0, 0], NOT_RELEASED)
    failed = [each for group in wrong for each in group if not each.startswith(ALSO_HTTP1)]
    assert not failed, "\n".join(failed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["outbound", "inbound"])
def test_what_is_no_preface_is_answered_in_http1(addresses, kind):
    with RawClient(addresses[kind]) as client:
        client.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
        assert client.read_until(lambda: client.closed, 5)
    assert not client.reset
    assert [status for status, _, _ in client.responses()] == [400]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["outbound", "inbound"])
def test_the_case_that_is_not_released(addresses, kind):
    block = b"\x7f\x07\x05empty"  # a literal whose name has index 70, which is in no table
    with RawClient(addresses[kind]) as client:
        client.send(OPENING + frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, block))
        assert client.read_until(lambda: client.closed, 5)
    (payload,) = [payload for found, _, _, payload in frames(client.received) if found == Kind.GOAWAY]
    assert int.from_bytes(payload[4:8], "big") == Code.COMPRESSION_ERROR
