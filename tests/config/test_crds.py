"""The models against the published CRDs: the form that those prescribe, and the rules between fields that they state.

What a CRD refuses is refused here. What it accepts is served, or refused by its field: one that is not supported, or
one of those in `BEYOND`, of which a CRD says less than its standard does, or than can be served.
"""

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.crds import HOME, ODD, SCHEMAS, WORDS, api_version, crd, published, served
from support.documents import document
from support.openapi import broken_rules, violations
from support.requests import exchange_of
from support.schema_values import Generator, sites

from meshd.compile import compile_snapshot
from meshd.config.documents import IGNORED_KINDS, KINDS, UNSUPPORTED_KINDS
from meshd.config.errors import ConfigError
from meshd.config.examine import examine
from meshd.config.load import load_policies

pytestmark = pytest.mark.slow  # hundreds of documents of others

# Where a model's type is narrower than the schema's: the schema's own CEL rules say the first two, Istio's admission
# the rest.
NARROWER = {
    "number": "ports are 1 to 65535",
    "targetPort": "ports are 1 to 65535",
    "ports": "ports are 1 to 65535",
    "maxEjectionPercent": "0 to 100",
    "minHealthPercent": "0 to 100",
    "name": "names are not empty",
    "host": "hosts are not empty",
    "minimumRingSize": "a ring of millions of points fits no memory",
    "tableSize": "a table of millions of entries fits no memory",
    "httpHeaderName": "names are not empty",
    "httpQueryParameterName": "names are not empty",
    "source": "an entry of 'from' names one",
    "operation": "an entry of 'to' names one",
    "jwks_uri": "not empty",
    "value": "a field has no control characters in it (RFC 9110 section 5.5)",
    **dict.fromkeys(
        (
            *(
                "maxConnections",
                "http1MaxPendingRequests",
                "http2MaxRequests",
                "maxRequestsPerConnection",
                "maxRetries",
            ),
            "maxConcurrentStreams",
        ),
        "counts are not negative",
    ),
}

UNSUPPORTED = (
    *("useDefaultGateways", "extensionRef", "externalAuth", "proxyProtocol", "consecutiveErrors", "credentialName"),
    *("backendUtilization", "zoneAwareLbSetting", "tunnel", "workloadSelector", "network", "insecureSkipVerify"),
)


# Rules that nothing breaks alone.
IMPLIED = {
    "contains('#')": "no such character is allowed",
    "self.type in ['Exact','PathPrefix'] || self.type": "the types are an enumeration",
    "self.all(h, ": "every host has a pattern of its own",
    "(self.size() > 0 ? ": "hundreds of matches: tested with the models of routes",
}
# What is refused of documents that a CRD accepts, by the end of the field, and why.
BEYOND = {
    r"sessionPersistence\.cookie\.path": "one that is not absolute is none (RFC 6265 section 5.2.4)",
    r"(from\[]\.source|to\[]\.operation)": "an entry names one",
    r"spec\.provider": "CUSTOM asks a provider, and nothing else does",
    r"spec\.rules": "a policy without them would never act",
    r"when\[]\.(values|notValues)(\[])?": "a condition has values, in the form of what its key names",
    r"(ports|notPorts)\[]": "ports are 1 to 65535",
    r"jwtRules\[]\.issuer": "whose tokens are meant",
    r"endpoints\[]\.address": "STATIC looks up no names",
    r"portLevelSettings\[]\.port(\.number)?": "the port that is meant, once",
    r"tls\.(clientCertificate|privateKey|caCertificates)": "files that the mode needs, and none that it ignores",
    r"loadBalancer\.warmupDurationSecs": "the old name of warmup",
    r"localityLbSetting\.distribute(\[]\.to)?": "shares make up 100, and there is no failover beside them",
    r"loadBalancer\.consistentHash": "what is hashed",
}
PROXY = document("""
apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: web, namespace: ns}
spec: {outbound: [{listen: "127.0.0.1:0"}], inbound: [{listen: "127.0.0.1:0", app: "127.0.0.1:80", protocol: http}]}
""").model
SERVED = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: ns, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}]
ports: [{port: 80, name: http}]
"""


def make(schema, spec):
    kind, version, file = schema
    metadata = {"name": "a", "namespace": "ns"}
    return {"apiVersion": api_version(version, file), "kind": kind, "metadata": metadata, "spec": spec}


def any_document(schema, rng, skip=()):
    """One that is right in its form."""
    return make(schema, Generator(rng, WORDS, skip).value(crd(*schema[1:])))


def sound_document(schema, rng, skip=()):
    """One that breaks no rule either, mostly."""
    return make(schema, Generator(rng, WORDS, skip).sound(crd(*schema[1:])))


def places(value, at=()):
    """Every path below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple) else ()
    for step, item in items:
        yield (*at, step)
        yield from places(item, (*at, step))


def changed(value, path, change):
    if not path:
        return change(value)
    if isinstance(value, tuple):
        return (*value[: path[0]], changed(value[path[0]], path[1:], change), *value[path[0] + 1 :])
    return {key: changed(item, path[1:], change) if key == path[0] else item for key, item in value.items()}


def without(value, key):
    return {name: item for name, item in value.items() if name != key} if isinstance(value, dict) else value


def mutated(document, rng):
    """The document with one to three things changed below its spec."""
    for _ in range(rng.randint(1, 3)):
        paths = [path for path in places(document) if path[0] == "spec"]
        path = rng.choice(paths)
        change = rng.choice(
            [
                lambda _: rng.choice([None, True, -1, 0, 3.5, 2**40, "", "no such", "Ü x\n", (), {}, ("a",), {"a": 1}]),
                lambda old: without(old, rng.choice([*old])) if isinstance(old, dict) and old else old,
                lambda old: old | {"unknownField": 1} if isinstance(old, dict) else old,
                lambda old: old * 40 if isinstance(old, (tuple, str)) else old,
                lambda old: str(old) if isinstance(old, (int, bool)) else old,
                lambda old: (*old, rng.choice(old)) if isinstance(old, tuple) and old else old,
                lambda old: rng.choice(ODD) if isinstance(old, str) else old,
                lambda old: rng.choice(ODD) if isinstance(old, str) else old,
            ]
        )
        document = changed(document, path, change)
    return document


def nowhere(path, key):
    return "f.yaml", 1, 1


def model_of(document):
    return KINDS[document["kind"]][document["apiVersion"]]


def verdict(document):
    """What is wrong with a document, to us."""
    return examine(model_of(document), document, document["kind"], nowhere)[1]


def against(schema, document):
    """What is wrong with a document, to its CRD."""
    _, version, file = schema
    return violations(crd(version, file), document["spec"]) or broken_rules(crd(version, file), document["spec"])


seeds = st.integers(0, 2**64)
every_schema = pytest.mark.parametrize("schema", [pytest.param(each, id="-".join(each[:2])) for each in SCHEMAS])


@every_schema
@given(seed=seeds)
def test_what_the_crd_refuses_is_refused(schema, seed):
    rng = random.Random(seed)
    document = mutated(sound_document(schema, rng, UNSUPPORTED), rng)
    if broken := against(schema, document):
        assert verdict(document), (broken, document)


@every_schema
def test_what_breaks_one_rule_of_the_crd_is_refused(schema):
    spec = crd(*schema[1:])
    rules = {(site.rule, site.path[-1:]): site for site in sites(spec)}
    for site in rules.values():
        if any(part in site.rule for part in IMPLIED):
            continue
        for seed in range(100):
            document = make(schema, Generator(random.Random(seed), WORDS, odd=ODD).breaking(spec, site))
            if against(schema, document) == [site.rule]:
                assert verdict(document), (site, document)
                break
        else:
            pytest.fail(f"nothing breaks {site} alone")


@every_schema
@given(seed=seeds)
def test_what_the_crd_accepts_has_the_right_types(schema, seed):
    rng = random.Random(seed)
    document = any_document(schema, rng)
    document = mutated(document, rng) if rng.random() < 0.5 else document
    if violations(crd(*schema[1:]), document["spec"]):
        return
    try:
        model_of(document).model_validate(document)
    except ValidationError as error:
        for detail in error.errors():
            names = [step for step in detail["loc"] if isinstance(step, str)]
            strings = detail["type"] == "refused" and isinstance(detail["input"], str)  # a duration or a URL, by CEL
            assert strings or NARROWER.get(names[-1]) or NARROWER.get(names[-2]), (detail, document)


@every_schema
@given(seed=seeds)
def test_what_is_refused_beyond_the_form_says_why(schema, seed):
    rng = random.Random(seed)
    document = any_document(schema, rng, UNSUPPORTED if rng.random() < 0.7 else ())
    broken = violations(crd(*schema[1:]), document["spec"])
    assert all("oneOf" in each for each in broken), "the generator knows all but oneOf"
    for problem in verdict(document):
        assert problem.rule != "unknown", problem
        assert problem.expected
        assert problem.field.startswith("spec")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A place for documents, where a service is already."""
    made = tmp_path_factory.mktemp("policies")
    (made / "served.yaml").write_text(SERVED)
    return made


@every_schema
@given(seed=seeds)
def test_what_the_crd_accepts_is_served_or_refused_by_its_field(folder, schema, seed):
    rng = random.Random(seed)
    document = aimed(sound_document(schema, rng, UNSUPPORTED if rng.random() < 0.8 else ()))
    if against(schema, document):
        return  # the generator does not mend everything
    (folder / "document.yaml").write_text(json.dumps(document))
    try:
        documents = load_policies([folder])
    except ConfigError as error:
        problems = [each for each in error.problems if each.severity == "error"]
    else:
        serve(documents)
        return
    for problem in problems:
        field = re.sub(r"\[\d+]", "[]", problem.field)
        known = any(re.search(f"{each}\\Z", field) for each in BEYOND)
        assert problem.rule == "unsupported" or known, (problem, document)


def aimed(document):
    """The same about what is there: a service, or the workload."""
    spec = document["spec"]
    if document["kind"].endswith("Route"):
        spec["parentRefs"] = ({"group": "", "kind": "Service", "name": "web"},)
    elif document["kind"] == "DestinationRule":
        spec["host"] = "web"
    elif document["kind"] != "ServiceEntry":
        spec.pop("selector", None)
        spec.pop("targetRef", None)
        spec.pop("targetRefs", None)
    return document


def serve(documents):
    """What loads makes routes and steps that stand a request, or is refused with a reason for each field."""
    try:
        snapshot = compile_snapshot(PROXY, documents, None, None, chance=random.Random(1))
    except ConfigError as error:
        reasons = [each.expected for each in error.problems]
    else:
        reasons = [True]
        for plan in snapshot.plans.values():
            exchange = exchange_of(target="/a?b=1", authority="web", headers=[("x-a", "1")])
            table = plan.table(b"web")
            route = table.find(exchange.head) if table is not None else None
            for step in (*plan.chain.on_request, *(route.chain.on_request if route is not None else ())):
                if step(exchange) is not None:
                    break
    assert all(reasons)


@pytest.mark.parametrize("path", sorted(HOME.glob("**/*.yaml")), ids=lambda path: path.stem.rpartition("_")[2])
def test_every_published_version_is_one_of_these(path):
    """Or is like one of these; or its kind is refused, or left alone with a warning."""
    file = str(path.relative_to(HOME))
    kind = published(file)["names"]["kind"]
    if kind not in KINDS:
        assert kind in UNSUPPORTED_KINDS or kind in IGNORED_KINDS
        return
    asked = {version: crd(version, file) for other, version, where in SCHEMAS if (other, where) == (kind, file)}
    for version, root in served(file).items():
        model = KINDS[kind][api_version(version, file)]
        like = [each for each, schema in asked.items() if schema == root["properties"]["spec"]]
        assert any(KINDS[kind][api_version(each, file)] is model for each in like)
        bare = {"apiVersion": api_version(version, file), "kind": kind, "metadata": {"name": "a"}}
        assert bool(verdict(bare)) >= ("spec" in root.get("required", ()))
