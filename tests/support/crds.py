"""The CRDs that are published for the kinds we read, and strings for their fields."""

import functools

import yaml
from support.shared import shared_folder

HOME = shared_folder("conformance") / "crds"
STANDARD, EXPERIMENTAL = (
    "gateway-api/standard/gateway.networking.k8s.io",
    "gateway-api/experimental/gateway.networking.k8s.io",
)
# Of versions with the same schema and the same model, one; see `test_every_published_version_is_one_of_these`.
SCHEMAS = [
    ("HTTPRoute", "v1", f"{EXPERIMENTAL}_httproutes.yaml"),
    ("HTTPRoute", "v1", f"{STANDARD}_httproutes.yaml"),
    ("GRPCRoute", "v1", f"{EXPERIMENTAL}_grpcroutes.yaml"),
    ("GRPCRoute", "v1", f"{STANDARD}_grpcroutes.yaml"),
    ("TCPRoute", "v1", f"{EXPERIMENTAL}_tcproutes.yaml"),
    ("TCPRoute", "v1alpha2", f"{EXPERIMENTAL}_tcproutes.yaml"),
    ("TCPRoute", "v1", f"{STANDARD}_tcproutes.yaml"),
    ("TLSRoute", "v1", f"{EXPERIMENTAL}_tlsroutes.yaml"),
    ("TLSRoute", "v1alpha2", f"{EXPERIMENTAL}_tlsroutes.yaml"),
    ("TLSRoute", "v1", f"{STANDARD}_tlsroutes.yaml"),
    ("AuthorizationPolicy", "v1", "istio/security.istio.io_authorizationpolicies.yaml"),
    ("PeerAuthentication", "v1", "istio/security.istio.io_peerauthentications.yaml"),
    ("RequestAuthentication", "v1", "istio/security.istio.io_requestauthentications.yaml"),
    ("ServiceEntry", "v1", "istio/networking.istio.io_serviceentries.yaml"),
    ("DestinationRule", "v1", "istio/networking.istio.io_destinationrules.yaml"),
]

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
    "jwksUri": ["https://example.com/keys"],
    "jwks_uri": ["https://example.com/keys"],
    "jwks": ['{"keys": []}'],
    "addresses": ["10.0.0.1", "10.0.0.0/8"],
    "address": ["10.0.0.1", "unix:///run/app", "a.example.com"],
    "replaceFullPath": ["/a", "/a/b"],
    "replacePrefixMatch": ["/a", "/", ""],
    "key": ["source.ip", "request.headers[x-a]", "destination.port", "request.auth.claims[iss]"],
    "ipBlocks": ["10.0.0.1", "10.0.0.0/8"],
    "remoteIpBlocks": ["10.0.0.1"],
    "notIpBlocks": ["10.0.0.1"],
    "notRemoteIpBlocks": ["::/0"],
}
# Where rules about strings draw their lines.
ODD = (
    *(
        "",
        "/a//b",
        "/a/./b",
        "/../b",
        "/a/..",
        "/a/.",
        "/a%2Fb",
        "/a%2fb",
        "/a#b",
        "/a?b",
        "a",
        "/",
        "a/b",
        "//a",
        "a\n",
    ),
    *("*", "a*", "*.", "*.a", "a.b", ".a.b", "A.b", "10.0.0.1", "unix://", "unix://a", "unix:///a/", "unix://@a"),
    *("0s", "1ms", "1us", "999h", "1d", "0", "65535", "65536", "http://a", "ftp://a", "Service", "Hostname", "Exact"),
    *("RegularExpression", "Permanent", "STATIC", "NONE", "DNS_ROUND_ROBIN", "CUSTOM", "DENY", "GRPC", "PathPrefix"),
    *("ReplacePrefixMatch", "CORS"),
)


@functools.cache
def published(file):
    """The spec of a CRD."""
    with (HOME / file).open("rb") as opened:
        return yaml.load(opened, Loader=yaml.CSafeLoader)["spec"]


def served(file):
    """By version that clusters serve: the schema of a whole document."""
    versions = published(file)["versions"]
    return {each["name"]: each["schema"]["openAPIV3Schema"] for each in versions if each["served"]}


def crd(version, file):
    """The schema of a spec."""
    return served(file)[version]["properties"]["spec"]


def api_version(version, file):
    return f"{published(file)['group']}/{version}"
