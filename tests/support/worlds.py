"""Worlds to ask questions of, from text and without files."""

import json

from support.documents import read

from meshd.config.authorization import AuthorizationPolicy
from meshd.config.documents import Documents, of_kind
from meshd.config.errors import ConfigError
from meshd.config.fault_policy import FaultPolicy
from meshd.config.grpc_route import GRPCRoute
from meshd.config.http_route import HTTPRoute
from meshd.config.peer_authentication import PeerAuthentication
from meshd.config.proxy import Proxy
from meshd.config.rate_limit_policy import RateLimitPolicy
from meshd.config.request_authentication import RequestAuthentication
from meshd.config.request_policy import RequestPolicy
from meshd.config.service import Service
from meshd.explain.question import Question
from meshd.explain.world import World

STOREFRONT = "spiffe://td/ns/shop/sa/storefront"
STRANGER = "spiffe://td/ns/other/sa/stranger"


def documents_of(*texts):
    """The documents of these texts; ConfigError with what is wrong with them."""
    found, problems = read("\n---\n".join(texts))
    if any(problem.severity == "error" for problem in problems):
        raise ConfigError(problems)
    return Documents(
        services=of_kind(found, Service),
        http_routes=of_kind(found, HTTPRoute),
        grpc_routes=of_kind(found, GRPCRoute),
        authorization_policies=of_kind(found, AuthorizationPolicy),
        peer_authentications=of_kind(found, PeerAuthentication),
        fault_policies=of_kind(found, FaultPolicy),
        request_policies=of_kind(found, RequestPolicy),
        rate_limit_policies=of_kind(found, RateLimitPolicy),
        request_authentications=of_kind(found, RequestAuthentication),
    )


def proxy_of(name="reviews", **spec):
    """The sidecar shop/reviews, with a listener either way."""
    whole = {
        "identity": {"trustDomain": "td", "certificates": "certs"},
        "inbound": [{"listen": "127.0.0.1:15006", "app": "127.0.0.1:8080"}],
        "outbound": [{"listen": "127.0.0.1:15001"}],
    }
    return Proxy.model_validate(
        {
            "apiVersion": "meshd.dev/v1alpha1",
            "kind": "Proxy",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
            "spec": whole | spec,
        }
    )


def world_of(*texts, **spec):
    """That sidecar under these documents."""
    return World(proxy_of(**spec), documents_of(*texts))


def resource(kind, version, name, spec, namespace="shop"):
    """One document as text."""
    metadata = {"name": name, "namespace": namespace}
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})


def service(name):
    """A Service with port 80."""
    return resource("Service", "v1", name, {"ports": [{"name": "http", "port": 80}]})


def allow(*rules, action="ALLOW", name="p"):
    """An AuthorizationPolicy for the whole namespace."""
    spec = {"action": action, "rules": list(rules)}
    return resource("AuthorizationPolicy", "security.istio.io/v1", name, spec)


def route(*rules, name="r", parent="web"):
    """An HTTPRoute of the service."""
    parents = [{"group": "", "kind": "Service", "name": parent, "port": 80}]
    spec = {"parentRefs": parents, "rules": list(rules)}
    return resource("HTTPRoute", "gateway.networking.k8s.io/v1", name, spec)


DOOR = {"name": "door", "envoyExtAuthzHttp": {"service": "web.shop", "port": 80}}


def custom(*rules, name="c", provider="door"):
    """An AuthorizationPolicy that asks an authorizer outside, such as `DOOR`, which is the service web."""
    spec = {"action": "CUSTOM", "provider": {"name": provider}, "rules": list(rules)}
    return resource("AuthorizationPolicy", "security.istio.io/v1", name, spec)


def believing(*rules, name="tokens"):
    """A RequestAuthentication for the namespace."""
    return resource("RequestAuthentication", "security.istio.io/v1", name, {"jwtRules": list(rules)})


def mtls(mode):
    """A PeerAuthentication for the namespace."""
    return resource("PeerAuthentication", "security.istio.io/v1", "mode", {"mtls": {"mode": mode}})


def inbound(method="GET", target="/", caller=STOREFRONT, **more):
    """A request to the sidecar's own app."""
    return Question(method=method, target=target, authority="reviews.shop", caller=caller, **more)


def outbound(target="/", method="GET", authority="web", **more):
    """A call of the app to a service."""
    return Question(method=method, target=target, authority=authority, inbound=False, **more)
