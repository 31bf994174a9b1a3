"""A generation is compiled from what changed alone, and comes out as if everything had been compiled anew."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compiled import OUTBOUND, PLAIN, backend_policy, proxy, service
from support.documents import document
from support.large_set import write_every_kind, write_large_set
from support.work import work_of

from meshd.compile import compile_snapshot, compiling
from meshd.config import hints
from meshd.config.cross_check import cross_check
from meshd.config.documents import Document, collect
from meshd.config.load import load_policies
from meshd.core.steps import run
from meshd.filters.buckets import OCTETS, Buckets
from meshd.filters.key_ring import KeyRing
from meshd.memory import Memory
from meshd.unserved import refuse_unserved
from meshd.workload import Shared, Workload

BOTH = OUTBOUND + "\ninbound: [{listen: '127.0.0.1:0', app: '127.0.0.1:8080'}]"
SHARED = Shared(Buckets(bytearray(OCTETS)), KeyRing())


def compiled(documents, memory, previous=None, spec=OUTBOUND):
    workload = Workload(proxy(spec), documents, memory.random, SHARED)
    return run(compiling(workload, None, previous, memory, needs_identity=False))


def load(path):
    documents = load_policies([path])
    cross_check(documents)
    refuse_unserved(documents)
    return compile_snapshot(proxy(BOTH), documents, None, None, chance=Random(1))


@pytest.mark.parametrize("write", [write_large_set, write_every_kind])
@pytest.mark.slow
def test_twice_the_documents_are_twice_the_work(tmp_path, write, monkeypatch):
    """Reading, checking and compiling, counted in lines: a look at every route for every service would show."""
    monkeypatch.setattr(hints, "MOST_COMPARED", 100)  # small enough that all of these sets reach it
    load(write(tmp_path / "warm", 5))
    work = [work_of(lambda count=count: load(write(tmp_path / f"of-{count}", count)))[1] for count in (40, 80, 160)]
    assert work[0] > 40 * 100  # it was counted
    assert work[1] < 2.1 * work[0]
    assert work[2] < 2.1 * work[1]


def test_of_one_change_only_what_it_is_about_is_made_again(tmp_path):
    documents = load_policies([write_large_set(tmp_path, 50)])
    memory = Memory()
    first = compiled(documents, memory, spec=BOTH)
    before = memory.made
    again = compiled(documents, memory, first, spec=BOTH)
    assert memory.made == before
    changed = list(documents.backend_policies)
    place, one = next((place, each.model) for place, each in enumerate(changed) if each.model.name == "b3")
    changed[place] = Document(one.model_copy(update={"spec": one.spec.model_copy(update={"timeout": 3.0})}), "", b"")
    second = compiled(replace(documents, backend_policies=tuple(changed)), memory, again, spec=BOTH)
    assert memory.made == before + 3  # the backend, its destination and its table
    tables = [snapshot.plans["outbound-0"].services for snapshot in (first, second)]
    other = [name for name in tables[0] if tables[0][name] is not tables[1][name]]
    assert sorted(other) == [b"s3.test", b"s3.test:80"]
    assert all(second.clusters[name] is first.clusters[name] for name in first.clusters)


def test_no_step_is_long(tmp_path):
    """A worker takes them between requests: none may be a large part of the whole."""
    documents = load_policies([write_every_kind(tmp_path, 150)])
    memory = Memory()
    workload = Workload(proxy(BOTH), documents, memory.random, SHARED)
    steps = compiling(workload, None, None, memory, needs_identity=False)
    work = []
    while True:
        try:
            work.append(work_of(lambda: next(steps))[1])
        except StopIteration:
            break
    assert len(work) > 150 * 5
    assert max(work) < sum(work) / 50


def test_a_table_follows_a_backend_that_comes_and_goes():
    route = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{backendRefs: [{name: other, port: 80}]}]
"""
    texts = {name: _documents(service(name)) for name in ("web", "other")}
    fixed = [*texts["web"], *_documents(route)]
    memory, previous, found = Memory(), None, []
    for more in ([], texts["other"], []):
        previous = compiled(collect([*fixed, *more]), memory, previous)
        (route_found,) = previous.plans["outbound-0"].table(b"web.shop").routes
        found.append(route_found.targets[0].cluster)
    assert found == ["", "shop/other:80", ""]


def test_a_compilation_that_was_given_up_leaves_its_work_to_the_next(tmp_path):
    documents = load_policies([write_large_set(tmp_path, 30)])
    whole = Memory()
    compiled(documents, whole)
    memory = Memory()
    steps = compiling(Workload(proxy(), documents, memory.random, SHARED), None, None, memory, needs_identity=False)
    while memory.made < whole.made // 2:
        next(steps)
    steps.close()
    half = memory.made
    compiled(documents, memory)
    assert half < memory.made == whole.made


# -- the law ----------------------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: d-{0}, namespace: shop}}
spec: {{host: {0}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r-{0}, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {0}}}]
  rules: [{{backendRefs: [{{name: {1}, port: 80}}, {{group: meshd.dev, kind: Subset, name: {1}.v1}}]}}]
"""
LIMIT = """
apiVersion: meshd.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{name: l-{0}, namespace: shop}}
spec: {{targetRefs: [{{name: {0}}}], rules: [{{requests: 5, per: second}}]}}
"""
DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: p-{0}, namespace: shop}}
spec: {{action: DENY, rules: [{{to: [{{operation: {{paths: ["/{1}"]}}}}]}}]}}
"""


def _documents(text):
    return [Document(document(part).model, "", b"") for part in text.split("---\n") if part.strip()]


# Every piece is made once, so that what is the same in two sets is the same object, as it is in a sidecar.
PIECES = {
    text: _documents(text)
    for text in [
        PLAIN,
        *(service(name, f"10.0.0.{number}") for name in NAMES for number in (1, 2)),
        *(RULE.format(name) for name in NAMES),
        *(ROUTE.format(name, other) for name in NAMES for other in NAMES),
        *(LIMIT.format(name) for name in NAMES),
        *(DENY.format(name, other) for name in NAMES for other in NAMES),
        *(
            backend_policy(spec, f"b-{name}", f"name: {name}")
            for name in NAMES
            for spec in ("timeout: 3s", "warm: {min: 2}")
        ),
    ]
}


def _collect_pieces(pieces):
    """The documents of these pieces; of two of one name the later."""
    return collect(list({found.title: found for text in pieces for found in PIECES[text]}.values()))


def said(snapshot):
    """Everything that can be compared of a snapshot: steps of chains are functions, so they are counted."""

    def route(each):
        targets = [(target.cluster, target.weight, len(target.chain.on_request)) for target in each.targets]
        return each.name, each.template, targets, each.timeout, each.retry, len(each.chain.on_request)

    plans = snapshot.plans
    services = plans["outbound-0"].services
    return (
        {name: cluster.settings for name, cluster in snapshot.clusters.items()},
        snapshot.places,
        {name: [route(each) for each in table.routes] for name, table in services.items()},
        [repr(step.__self__) for step in plans["inbound-0"].chain.on_request],
    )


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from(sorted(PIECES)), max_size=9, unique=True), min_size=2, max_size=5))
@pytest.mark.slow
def test_whatever_came_before_a_generation_says_the_same(generations):
    memory, previous = Memory(), None
    for pieces in generations:
        documents = _collect_pieces([PLAIN, *pieces])
        previous = compiled(documents, memory, previous, BOTH)
        assert said(previous) == said(compiled(documents, Memory(), spec=BOTH))
