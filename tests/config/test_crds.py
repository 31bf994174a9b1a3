"""The models against the published CRDs: what a CRD refuses is refused here, what it accepts loads, or is refused for a
reason that a CRD has no words for (a field that is not supported, or a rule between fields)."""

import functools
import random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.openapi import Generator, violations
from support.shared import shared_folder

from meshd.config.documents import KINDS
from meshd.config.examine import examine

FILES = {
    "HTTPRoute": "gateway-api/experimental/gateway.networking.k8s.io_httproutes.yaml",
    "GRPCRoute": "gateway-api/experimental/gateway.networking.k8s.io_grpcroutes.yaml",
    "TCPRoute": "gateway-api/experimental/gateway.networking.k8s.io_tcproutes.yaml",
    "TLSRoute": "gateway-api/experimental/gateway.networking.k8s.io_tlsroutes.yaml",
    "AuthorizationPolicy": "istio/security.istio.io_authorizationpolicies.yaml",
    "PeerAuthentication": "istio/security.istio.io_peerauthentications.yaml",
    "RequestAuthentication": "istio/security.istio.io_requestauthentications.yaml",
    "ServiceEntry": "istio/networking.istio.io_serviceentries.yaml",
    "DestinationRule": "istio/networking.istio.io_destinationrules.yaml",
}
# One version of each form: the others have the same schema and the same model.
VERSIONS = [(kind, version) for kind in FILES for version in KINDS[kind] if version.endswith(("/v1", "/v1alpha2"))]
VERSIONS.remove(("GRPCRoute", "gateway.networking.k8s.io/v1alpha2"))  # no longer published

# Strings whose form is the business of a field and not of its schema.
WORDS = {
    name: ["10s", "1m30s", "250ms"]
    for name in (
        *("interval", "timeout", "idleTimeout", "connectTimeout", "maxConnectionDuration", "time", "ttl", "duration"),
        *("warmupDurationSecs", "baseEjectionTime", "budgetInterval", "backoff", "request", "backendRequest"),
        *("absoluteTimeout", "weightExpirationPeriod", "weightStabilizationPeriod", "weightUpdatePeriod"),
    )
} | {
    "hostnames": ["a.example.com", "*.example.com"],
    "hosts": ["a.example.com", "*.example.com"],
    "allowOrigins": ["https://example.com"],
}

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


@functools.cache
def crd(kind, version):
    path = shared_folder("conformance") / "crds" / FILES[kind]
    with path.open("rb") as opened:
        whole = yaml.load(opened, Loader=yaml.CSafeLoader)
    name = version.rpartition("/")[2]
    found = next(each["schema"]["openAPIV3Schema"] for each in whole["spec"]["versions"] if each["name"] == name)
    return found["properties"]["spec"]


def make(kind, version, rng, skip=()):
    document = {"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "ns"}}
    return document | {"spec": Generator(rng, WORDS, skip).value(crd(kind, version))}


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
            ]
        )
        document = changed(document, path, change)
    return document


def nowhere(path, key):
    return "f.yaml", 1, 1


def verdict(kind, version, document):
    return examine(KINDS[kind][version], document, kind, nowhere)[1]


seeds = st.integers(0, 2**64)


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
@given(seed=seeds)
def test_what_the_crd_refuses_is_refused(kind, version, seed):
    rng = random.Random(seed)
    document = mutated(make(kind, version, rng), rng)
    broken = violations(crd(kind, version), document["spec"])
    if broken:
        assert verdict(kind, version, document), broken


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
@given(seed=seeds)
def test_what_the_crd_accepts_has_the_right_types(kind, version, seed):
    rng = random.Random(seed)
    document = make(kind, version, rng)
    document = mutated(document, rng) if rng.random() < 0.5 else document
    if violations(crd(kind, version), document["spec"]):
        return
    try:
        KINDS[kind][version].model_validate(document)
    except ValidationError as error:
        for detail in error.errors():
            names = [step for step in detail["loc"] if isinstance(step, str)]
            strings = detail["type"] == "refused" and isinstance(detail["input"], str)  # a duration or a URL, by CEL
            assert strings or NARROWER.get(names[-1]) or NARROWER.get(names[-2]), (detail, document)


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
@given(seed=seeds)
def test_what_is_refused_beyond_the_crd_says_why(kind, version, seed):
    rng = random.Random(seed)
    document = make(kind, version, rng, UNSUPPORTED if rng.random() < 0.7 else ())
    broken = violations(crd(kind, version), document["spec"])
    assert all("oneOf" in each for each in broken), "the generator knows all but oneOf"
    for problem in verdict(kind, version, document):
        assert problem.rule != "unknown", problem
        assert problem.expected
        assert problem.field.startswith("spec")
