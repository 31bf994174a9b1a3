"""The mesh conformance tests of the Gateway API, judged on what the compiled routes make of each request."""

import json
from random import Random
from urllib.parse import urlsplit

import pytest
import yaml
from support.documents import document
from support.requests import exchange_of, request
from support.shared import shared_folder

from meshd.compile import compile_snapshot
from meshd.config.load import load_policies
from meshd.core.exchange import Exchange
from meshd.core.head import ResponseHead
from meshd.core.peer import NOBODY
from meshd.routing.split import pick_target

HOME = shared_folder("conformance") / "gateway-api-mesh"
EXPECTED = json.loads((HOME / "expectations.json").read_text())
CASES = [
    pytest.param(test, case, id=f"{test['test']}-{place}")
    for test in EXPECTED["tests"]
    for place, case in enumerate(test["cases"])
    if case["request"]["protocol"] in ("http", "grpc") and "to_pod" not in case["request"]
]


@pytest.fixture(scope="module")
def plan_for(tmp_path_factory):
    """The plan of a listener that stands in for one service, in one namespace: where a connection goes by address."""

    known = {}

    def plan_for(manifests, namespace, to):
        key = (*manifests, namespace, to)
        if key not in known:
            known[key] = built(manifests, namespace, to)
        return known[key]

    def built(manifests, namespace, to):
        kept = []
        for name in (*EXPECTED["base_manifests"], *manifests):
            documents = yaml.safe_load_all((HOME / name).read_text())
            kept += [each for each in documents if each and each["kind"] in ("Service", "HTTPRoute", "GRPCRoute")]
        file = tmp_path_factory.mktemp("policies") / "all.yaml"
        file.write_text(yaml.safe_dump_all(kept))
        name = to if "." in to else to.replace(":", f".{namespace}:")
        proxy = document(
            "apiVersion: meshd.dev/v1alpha1\nkind: Proxy\n"
            f"metadata: {{name: web, namespace: {namespace}}}\n"
            f"spec: {{outbound: [{{listen: '127.0.0.1:0', service: '{name}'}}]}}\n"
        )
        return compile_snapshot(proxy.model, load_policies([file]), None, None).plans["outbound-0"]

    return plan_for


def carry(plan, sent, random):
    """What becomes of one request: a reply of ours, or the cluster it goes to with its edited head and response."""
    host = sent.get("host", sent["to"])
    head = request(sent["path"], sent["method"], host.removesuffix(":80"), list(sent["headers"].items()))
    exchange = Exchange(head, NOBODY, 0.0)
    route = plan.table(head.authority).find(head)
    if route is None:
        return 404, "", exchange, ResponseHead(404)
    for step in route.chain.on_request:
        reply = step(exchange)
        if reply is not None:
            return reply.status, "", exchange, ResponseHead(reply.status, list(reply.headers))
    target = pick_target(route, exchange, random)
    if target is None or not target.cluster:
        return 500, "", exchange, ResponseHead(500)
    for step in target.chain.on_request:
        assert step(exchange) is None
    response = ResponseHead(200)
    for step in (*target.chain.on_response, *route.chain.on_response):
        step(exchange, response)
    return 200, target.cluster, exchange, response


def check_fields(head, wanted, absent):
    for name, value in wanted.items():
        assert (head.get(name.lower().encode()) or b"").decode() == value, name
    for name in absent:
        assert head.get(name.lower().encode()) is None, name


def check_redirect(location, wanted, sent):
    found = urlsplit(location.decode())
    assert found.scheme == wanted.get("scheme", "http")
    assert found.path == wanted.get("path", sent["path"])
    assert found.hostname == wanted.get("host", sent["to"].partition(":")[0])
    default = 443 if found.scheme == "https" else 80
    assert found.port in ((None, default) if wanted["port"] == "default" else (wanted["port"],))


@pytest.mark.parametrize(("test", "case"), CASES)
def test_a_case_of_the_conformance_suite(test, case, plan_for):
    sent, wanted = case["request"], case["expect"]
    plan = plan_for(test["manifests"], case.get("from", test["from"])["namespace"], sent["to"])
    status, cluster, exchange, response = carry(plan, sent, Random(1))
    assert status in (wanted["status"] if isinstance(wanted["status"], list) else [wanted["status"]])
    if "redirect" in wanted:
        check_redirect(response.get(b"location"), wanted["redirect"], sent)
        return
    if "backend" in wanted and cluster.partition(":")[0] != f"{wanted['namespace']}/echo":  # `echo` is both of them
        assert cluster.partition(":")[0] == f"{wanted['namespace']}/{wanted['backend']}"
    backend = wanted.get("backend_request", {})
    if "path" in backend:
        assert exchange.head.target.decode() == backend["path"]
    check_fields(exchange.head, backend.get("headers", {}), backend.get("absent_headers", ()))
    check_fields(response, wanted.get("response_headers", {}), wanted.get("absent_headers", ()))


WEIGHED = [each for each in CASES if "weights" in each.values[1]]


@pytest.mark.parametrize(("test", "case"), WEIGHED)
def test_shares_are_within_the_tolerance(test, case, plan_for):
    plan, random = plan_for(test["manifests"], test["from"]["namespace"], case["request"]["to"]), Random(1)
    route = plan.table(b"").find(request(case["request"]["path"]))
    times = case["times"] * 4
    taken = [
        pick_target(route, exchange_of(), random).cluster.partition("/")[2].partition(":")[0] for _ in range(times)
    ]
    shares = {name: taken.count(name) / times for name in set(taken)}
    for name, weight in case["weights"].items():
        assert abs(shares.get(name, 0) - weight) <= case["tolerance"]
    assert {name for name, weight in case["weights"].items() if weight} == set(shares)
