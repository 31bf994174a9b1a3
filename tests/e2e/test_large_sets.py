"""Large sets of documents come and change under a sidecar that serves: nobody is killed, nothing is lost, and whoever
starts meanwhile serves by the newest."""

import json
import os
import signal

import pytest
from support.fault_rig import FaultRig
from support.large_set import BACKEND, ENTRY, ROUTE, written
from support.processes import until

COUNT = 150
AWAY = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {{name: plain, namespace: default}}
    spec:
      parentRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: plain-test}}]
      rules:
      - filters: [{{type: RequestRedirect, requestRedirect: {{hostname: {host}, statusCode: 302}}}}]
"""
SERVED = 60.0  # seconds that a generation may take on a busy machine


@pytest.fixture
def rig(mesh):
    made = FaultRig(mesh, {"plain": None}, workers=2)
    yield made
    made.close()


def info(rig):
    return json.loads(rig.admin("/server_info"))


def serves(rig, generation):
    return all(worker["generation"] >= generation for worker in info(rig)["workers"])


def large(rig, name="large"):
    """Services at addresses where nobody listens, with routes and policies."""
    lazy = BACKEND.replace("  retry:", "  warm: {{mode: lazy}}\n  retry:")
    parts = [written(ENTRY.replace("10.", "127."), COUNT), written(ROUTE, COUNT), written(lazy, COUNT)]
    rig.mesh.policy(name, "---".join(parts))


def test_a_large_set_comes_while_requests_go_on_and_what_is_broken_in_between_is_refused(rig):
    before = info(rig)
    large(rig)
    asked = 0

    def came():
        nonlocal asked
        assert rig.ask("plain", "/while").status == 200
        asked += 1
        return serves(rig, 2)

    until(came, SERVED)
    broken = rig.mesh.policy("broken", "kind: HTTPRoute\n")
    until(lambda: info(rig)["generation"] == 2 and "meshd_config_ok 0" in rig.admin("/metrics"), SERVED)
    assert rig.ask("plain", "/still").status == 200
    broken.unlink()
    rig.mesh.policy("route", AWAY.format(host="elsewhere.test"))
    until(lambda: rig.ask("plain", "/away").status == 302, SERVED)
    until(lambda: serves(rig, 3), SERVED)
    after = info(rig)
    assert [worker["pid"] for worker in after["workers"]] == [worker["pid"] for worker in before["workers"]]
    assert after["controller"]["restarts"] == 0
    assert asked > 0


def test_a_worker_that_starts_while_a_set_is_told_serves_by_the_newest(rig):
    large(rig)
    until(lambda: serves(rig, 2), SERVED)
    victims = [worker["pid"] for worker in info(rig)["workers"]]
    rig.mesh.policy("route", AWAY.format(host="newest.test"))
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not {worker["pid"] for worker in info(rig)["workers"]} & {0, *victims}, SERVED)
    until(lambda: serves(rig, 3), SERVED)
    found = [rig.ask("plain", "/") for _ in range(10)]  # whichever of the new workers it is
    assert {(each.status, each.fields.get("location")) for each in found} == {(302, "http://newest.test/")}


def test_a_storm_of_changes_ends_at_the_last(rig):
    large(rig)
    for number in range(30):
        rig.mesh.policy("route", AWAY.format(host=f"h{number}.test"))
        rig.ask("plain", "/storm")
    until(lambda: "h29.test" in rig.admin("/config_dump"), SERVED)
    newest = info(rig)["generation"]
    until(lambda: serves(rig, newest), SERVED)
    assert all(worker["restarts"] == 0 for worker in info(rig)["workers"])
    assert rig.ask("plain", "/after").status == 302
