"""The mesh conformance tests of the Gateway API, through running sidecars: every case, in every protocol it is meant
for, by the name of the service and by a listener that stands for its address.

Each workload that a Service of the manifests selects is an app with a sidecar in front of it. Each namespace has one
sidecar for those who call from it: which workload of the namespace calls is of no effect, for a route binds namespaces.
Before each test its manifests, unchanged, take the place of the last ones, under sidecars that go on serving.

One thing is not as in a cluster: nothing catches a connection to any address. What upstream sends to the address of a
Service goes to a listener of that service here, and what it sends to the address of a pod is asked of the sidecar by
that address (see `Workload.entry`).
"""

import contextlib
import http.client
import json
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.callers import CALLERS
from support.conformance import APP_PORTS, BASE, EXPECTED, HOME, NAMESPACES, listeners, workloads
from support.processes import running, until

PROTOCOLS = {"http": ("h1", "h2"), "grpc": ("grpc",)}
SPOKEN = {"h1": "1.1", "h2": "2", "grpc": "2"}
CASES = [
    pytest.param(test, case, protocol, id=f"{test['test']}-{place}-{protocol}")
    for test in EXPECTED["tests"]
    for place, case in enumerate(test["cases"])
    for protocol in PROTOCOLS[case["request"]["protocol"]]
]
DOMAIN = "mesh.test"
PATIENCE = 40  # seconds for processes that start together


class Deployed:
    """The running workloads, by namespace and name, and the sidecars of callers by namespace."""

    def __init__(self, mesh, stack) -> None:
        self._mesh = mesh
        self._callers = stack.enter_context(contextlib.ExitStack())
        self._channels = {}
        self.workloads = {(each.namespace, each.name): each for each in workloads()}
        self._serve(stack)
        for each in self.workloads.values():
            for document in (*each.slices(), *each.accounts(), each.entry()):
                mesh.policy(f"{document['kind']}-{document['metadata']['name']}", json.dumps(document))
        self._applied = self._write(())
        policies = [*map(str, BASE), str(mesh.policies)]
        self.clients = {}
        for namespace in NAMESPACES:
            outbound = [{"listen": "127.0.0.1:0"}]
            outbound += [{"listen": "127.0.0.1:0", "service": to} for to in listeners(namespace)]
            self.clients[namespace] = mesh.start(namespace, namespace=namespace, outbound=outbound, policies=policies)
        for sidecar in self.clients.values():
            sidecar.wait_ready(PATIENCE)

    def _serve(self, stack) -> None:
        """Apps, and sidecars in front of them that let nobody in but the callers' sidecars."""
        mesh, started = self._mesh, []
        rules = mesh.folder / "servers"
        rules.mkdir()
        (rules / "callers.yaml").write_text(json.dumps(only_callers()))
        told = {each.name: mesh.folder / f"{each.name}.ports" for each in self.workloads.values()}
        for each in self.workloads.values():
            argv = [sys.executable, str(Path(__file__).with_name("echo_app.py"))]
            log = mesh.folder / f"{each.name}.app.log"
            stack.enter_context(running([*argv, each.name, each.namespace, str(told[each.name])], log))
        for each in self.workloads.values():
            until(told[each.name].exists, PATIENCE, f"{each.name} listens")
            ports = json.loads(told[each.name].read_text())
            inbound = [
                {"listen": f"{each.address}:0", "app": f"127.0.0.1:{ports[kind]}", "protocol": kind}
                for kind in APP_PORTS.values()
            ]
            options = {"namespace": each.namespace, "inbound": inbound, "policies": [str(rules)]}
            started.append((each, mesh.start(each.name, **options)))
        for each, sidecar in started:
            sidecar.wait_ready(PATIENCE)
            for place, port in enumerate(APP_PORTS):
                each.ports[port] = int(sidecar.address(f"inbound-{place}").rpartition(":")[2])

    def apply(self, manifests) -> None:
        """Have every caller's sidecar serve with these manifests and no others beside the base."""
        if self._applied == tuple(manifests):
            return
        before = {namespace: self._generations(each) for namespace, each in self.clients.items()}
        self._applied = self._write(manifests)
        for sidecar in self.clients.values():
            sidecar.signal(signal.SIGHUP)
        for namespace, sidecar in self.clients.items():
            until(lambda sidecar=sidecar, old=before[namespace]: self._generations(sidecar) > old, what=f"{manifests}")

    def _write(self, manifests) -> tuple[str, ...]:
        """One document file, so that its replacement is one change."""
        text = "\n---\n".join((HOME / name).read_text() for name in manifests)
        self._mesh.policy("applied", text or "{apiVersion: v1, kind: List, items: []}")
        return tuple(manifests)

    def _generations(self, sidecar) -> list[int]:
        """What each worker serves."""
        with contextlib.closing(http.client.HTTPConnection(sidecar.address("admin"), timeout=10)) as connection:
            connection.request("GET", "/server_info")
            return [each["generation"] for each in json.load(connection.getresponse())["workers"]]

    def ways(self, namespace, request):
        """Where a client can send a request, and as what authority: by the name of the service, or to its address."""
        to, host = request["to"], request.get("host")
        client = self.clients[namespace]
        if "to_pod" in request:
            pod = request["to_pod"]
            workload = self.workloads[pod["namespace"], pod["workload"]]
            return [(client.address("outbound-0"), f"{workload.address}:{pod['port']}")]
        own = client.address(f"outbound-{listeners(namespace).index(to) + 1}")
        if host is not None:  # that it is not the name of the service is the point
            return [(own, host)]
        return [(client.address("outbound-0"), to.removesuffix(":80")), (own, to)]

    def ask(self, way, protocol, request):
        """The answer to a request, over a connection that is kept from case to case."""
        if (caller := self._channels.get((protocol, *way))) is None:
            caller = self._channels[protocol, *way] = CALLERS[protocol](*way)
            self._callers.callback(caller.close)
        return caller.ask(request["method"], request["path"], request["headers"])


def only_callers():
    names = [f"{DOMAIN}/ns/{namespace}/sa/{namespace}" for namespace in NAMESPACES]
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "callers", "namespace": "istio-system"},
        "spec": {"rules": [{"from": [{"source": {"principals": names}}]}]},
    }


@pytest.fixture(scope="module")
def deployed(shared_mesh):
    with contextlib.ExitStack() as stack:
        yield Deployed(shared_mesh, stack)
    assert not [each.log_path for each in shared_mesh.sidecars if "Traceback" in each.log]


def check_redirect(location, wanted, way, path):
    """What the case leaves open is as the request had it."""
    found = urlsplit(location)
    host = urlsplit(f"//{way[1]}").hostname
    assert (found.scheme, found.hostname) == (wanted["scheme"], wanted.get("host", host))
    assert found.path == wanted.get("path", path)
    default = {"http": 80, "https": 443}[found.scheme]
    assert found.port in ((None, default) if wanted["port"] == "default" else (wanted["port"],))


def check_fields(fields, wanted, absent):
    assert {name: fields.get(name.lower()) for name in wanted} == wanted
    assert not [name for name in absent if name.lower() in fields]


def check_backend(told, wanted, namespace, protocol):
    """Who answered, what arrived there, and that it came through two sidecars, each of which knew the other."""
    if "backend" in wanted:
        assert told["workload"] == wanted["backend"]
    assert told["namespace"] == wanted.get("namespace", told["namespace"])
    fields = {}
    for name, value in told["headers"]:
        fields[name.lower()] = f"{fields[name.lower()]},{value}" if name.lower() in fields else value
    asked = wanted.get("backend_request", {})
    assert told["path"] == asked.get("path", told["path"])
    check_fields(fields, asked.get("headers", {}), asked.get("absent_headers", ()))
    claims = dict(each.split("=", 1) for each in fields["x-forwarded-client-cert"].split(";"))
    assert claims["By"] == f"spiffe://{DOMAIN}/ns/{told['namespace']}/sa/{told['workload']}"
    assert claims["URI"] == f"spiffe://{DOMAIN}/ns/{namespace}/sa/{namespace}"
    spoken = SPOKEN[protocol]
    hops = [f"{spoken} {namespace}.{namespace}-out", f"{spoken} {told['workload']}.{told['namespace']}-in"]
    assert fields["via"].split(", ") == hops


@pytest.mark.parametrize(("test", "case", "protocol"), CASES)
def test_a_case_of_the_conformance_suite(deployed, test, case, protocol):
    request, wanted = case["request"], case["expect"]
    namespace = case.get("from", test["from"])["namespace"]
    deployed.apply(test["manifests"])
    for way in deployed.ways(namespace, request):
        answer = deployed.ask(way, protocol, request)
        statuses = wanted["status"] if isinstance(wanted["status"], list) else [wanted["status"]]
        assert answer.status in statuses
        check_fields(answer.fields, wanted.get("response_headers", {}), wanted.get("absent_headers", ()))
        if "redirect" in wanted:
            check_redirect(answer.fields["location"], wanted["redirect"], way, request["path"])
        elif answer.status == 200:
            check_backend(json.loads(answer.body), wanted, namespace, protocol)
        else:
            assert answer.fields["proxy-status"].startswith(f'"{namespace}.{namespace}"'), "our own sidecar answers"
        if "weights" in case:
            check_shares(lambda way=way: json.loads(deployed.ask(way, protocol, request).body)["workload"], case)


def check_shares(take, case):
    """By the suite's own rule: so many tries, one of which has every share within the tolerance."""
    wanted = {name: weight for name, weight in case["weights"].items() if weight}
    for _ in range(1 + case["retries_of_whole_check"]):
        taken = [take() for _ in range(case["times"])]
        shares = {name: taken.count(name) / len(taken) for name in taken}
        assert shares.keys() <= wanted.keys()
        if all(abs(shares.get(name, 0) - weight) <= case["tolerance"] for name, weight in wanted.items()):
            return
    pytest.fail(f"shares are {shares}, wanted {wanted}")


def test_there_are_cases():
    assert len(EXPECTED["tests"]) >= 23
    assert len(CASES) >= 2 * 81 + 6
