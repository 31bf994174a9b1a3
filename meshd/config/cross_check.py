"""What shows only when all documents are seen together. Warnings for what acts otherwise than it looks; an error only
where a sidecar must not run: without an identity while callers are asked for mutual TLS."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from meshd.config.authorization_check import admits_nobody_without_certificates, check_authorization
from meshd.config.bootstrap import LoadedProxy
from meshd.config.client_check import check_clients
from meshd.config.destination_rule import DestinationRuleSpec
from meshd.config.destinations import Destinations
from meshd.config.documents import Document, Documents
from meshd.config.errors import Path, Problem, field_name, quote
from meshd.config.model import Resource
from meshd.config.peer_authentication import ROOT_NAMESPACE, PeerAuthentication
from meshd.config.provider_check import check_providers
from meshd.config.proxy import Proxy
from meshd.config.references import ServiceTarget, WorkloadSelector
from meshd.config.route_check import check_routes, warning
from meshd.config.traffic_policy import TrafficPolicy
from meshd.config.workload_check import check_workloads

_ANYBODY: Final = re.compile(r"spiffe://(?:[^/]*/(?:ns/)?)?\*")  # all of a trust domain, or of every one
NO_SPIFFE_ID: Final = "no SPIFFE ID: nobody of the mesh proves to be that, so it is passed over"
SPIFFE_ID: Final = "write spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT"


def cross_check(documents: Documents, loaded: LoadedProxy | None = None) -> list[Problem]:
    """Every such problem, in the order of files and lines; without a bootstrap, of the policies alone."""
    destinations = Destinations.of(documents)
    problems = [
        *check_routes(documents, destinations),
        *check_authorization(documents),
        *_peer_authentication(documents),
        *_destination_rules(documents, destinations),
        *_expected_peers(documents),
        *_targets(documents, destinations),
        *_endpoints(documents, destinations),
        *check_workloads(documents, loaded),
        *check_clients(documents, loaded),
    ]
    if loaded is not None:
        problems += _proxy(loaded, documents, destinations)
        problems += check_providers(documents, loaded, destinations)
    return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))


def _peer_authentication(documents: Documents) -> Iterator[Problem]:
    first: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}
    for policy in documents.peer_authentications:
        selector = policy.model.spec.selector
        labels = tuple(sorted(selector.match_labels.items())) if selector else ()
        other = first.setdefault((policy.model.namespace, labels), policy.title)
        if other != policy.title:
            scope = "these labels" if labels else f"namespace {policy.model.namespace}"
            expected = f"{other} speaks for {scope} already; the oldest of them counts, then the first by name"
            yield warning(policy, ("spec", "selector") if labels else ("spec",), expected, "merge the two")


def _destination_rules(documents: Documents, destinations: Destinations) -> Iterator[Problem]:
    first: dict[tuple[str, str, tuple[tuple[str, str], ...]], str] = {}
    for rule in documents.destination_rules:
        spec, namespace = rule.model.spec, rule.model.namespace
        ports = destinations.of_host(spec.host, namespace)
        if ports is None and not spec.host.startswith("*"):
            hint = destinations.nearest(spec.host.partition(".")[0], namespace)
            yield warning(
                rule, ("spec", "host"), "no Service or ServiceEntry of that name: the rule does not act", hint
            )
        settings = spec.traffic_policy.port_level_settings if spec.traffic_policy else ()
        for place, each in enumerate(settings):
            if ports is not None and each.port is not None and each.port.number not in ports:
                at = ("spec", "trafficPolicy", "portLevelSettings", place, "port", "number")
                yield warning(rule, at, f"{spec.host} has no such port", "", str(each.port.number))
        labels = tuple(sorted(spec.workload_selector.match_labels.items())) if spec.workload_selector else ()
        other = first.setdefault((namespace, spec.host, labels), rule.title)
        if other != rule.title:
            yield warning(
                rule, ("spec", "host"), f"{other} is about the same host; only the first acts", "merge the two"
            )


def _expected_peers(documents: Documents) -> Iterator[Problem]:
    """Where somebody has written down that anybody of a trust domain may answer."""
    told = "whoever holds a certificate of the mesh may answer as this service"
    hint = "name the service accounts of its endpoints instead"
    for backend in documents.backend_policies:
        if backend.model.spec.tls.peer_identity == "trustDomain":
            yield warning(backend, ("spec", "tls", "peerIdentity"), told, hint, "trustDomain")
    for entry in documents.service_entries:
        for place, name in enumerate(entry.model.spec.subject_alt_names):
            if _ANYBODY.fullmatch(name):
                yield warning(entry, ("spec", "subjectAltNames", place), told, hint, name)
            elif entry.model.spec.location == "MESH_INTERNAL" and not name.startswith("spiffe://"):
                given = repr(name) if name else "''"
                yield warning(entry, ("spec", "subjectAltNames", place), NO_SPIFFE_ID, SPIFFE_ID, given)
    for rule in documents.destination_rules:
        for at, name in _names_in(rule.model.spec):
            if _ANYBODY.fullmatch(name):
                yield warning(rule, at, told, hint, name)


def _names_in(spec: DestinationRuleSpec) -> Iterator[tuple[Path, str]]:
    """Every subjectAltName of a rule, with where it stands."""
    parts: list[tuple[Path, TrafficPolicy | None]] = [(("spec",), spec.traffic_policy)]
    parts += [(("spec", "subsets", place), each.traffic_policy) for place, each in enumerate(spec.subsets)]
    for above, policy in parts:
        if policy is None:
            continue
        at: Path = (*above, "trafficPolicy")
        ports = [((*at, "portLevelSettings", place), each.tls) for place, each in enumerate(policy.port_level_settings)]
        for where, tls in [(at, policy.tls), *ports]:
            for place, name in enumerate(tls.subject_alt_names if tls is not None else ()):
                yield (*where, "tls", "subjectAltNames", place), name


def _targets(documents: Documents, destinations: Destinations) -> Iterator[Problem]:
    """Policies of our own: what they attach to exists, and one policy of a kind says how to reach it."""
    first: dict[tuple[str, str, str, int | None], str] = {}
    for backend in documents.backend_policies:
        yield from _unknown_targets(backend, backend.model.spec.target_refs, destinations)
        for place, ref in enumerate(backend.model.spec.target_refs):
            key = (ref.kind, ref.namespace or backend.model.namespace, ref.name, ref.port)
            other = first.setdefault(key, backend.title)
            if other != backend.title:
                expected = f"{other} is about the same {ref.kind}; only the first acts"
                yield warning(backend, ("spec", "targetRefs", place, "name"), expected, "merge the two")
    for limit in documents.rate_limit_policies:
        yield from _unknown_targets(limit, limit.model.spec.target_refs, destinations)
    for fault in documents.fault_policies:
        yield from _unknown_targets(fault, fault.model.spec.target_refs, destinations)
    for request in documents.request_policies:
        yield from _unknown_targets(request, request.model.spec.target_refs, destinations)


def _unknown_targets(
    policy: Document[Resource], refs: Sequence[ServiceTarget], destinations: Destinations
) -> Iterator[Problem]:
    for place, ref in enumerate(refs):
        namespace = ref.namespace or policy.model.namespace
        known = destinations.services if ref.kind == "Service" else destinations.entries
        ports = known.get((namespace, ref.name))
        if ports is None:
            expected = f"no {ref.kind} {namespace}/{ref.name}: the policy does not act on it"
            hint = destinations.nearest(ref.name, namespace)
            yield warning(policy, ("spec", "targetRefs", place, "name"), expected, hint)
        elif ref.port is not None and ref.port not in ports:
            at = ("spec", "targetRefs", place, "port")
            yield warning(policy, at, f"{ref.name} has no such port", "", str(ref.port))


def _endpoints(documents: Documents, destinations: Destinations) -> Iterator[Problem]:
    """Slices of no Service; and, where endpoints are given as documents at all, Services without any."""
    served: set[tuple[str, str]] = set()
    for each in documents.endpoint_slices:
        key = (each.model.namespace, each.model.service)
        served.add(key)
        if key not in destinations.services:
            expected = f"no Service {key[0]}/{key[1]}: nothing is sent to these endpoints"
            yield warning(each, ("metadata", "labels", "kubernetes.io/service-name"), expected)
    for service in documents.services:
        key = (service.model.namespace, service.model.name)
        if documents.endpoint_slices and key not in served and service.model.spec.type != "ExternalName":
            yield warning(service, ("metadata", "name"), "no EndpointSlice names it: every request gets 503")


def _proxy(loaded: LoadedProxy, documents: Documents, destinations: Destinations) -> Iterator[Problem]:
    proxy, spec = loaded.proxy, loaded.proxy.spec
    title = f"Proxy {proxy.namespace}/{proxy.name}"
    yield from _nobody_is_admitted(documents, proxy)
    if spec.identity is None and effective_mode(documents.peer_authentications, proxy) != "DISABLE":
        expected = "without an identity a sidecar runs only where PeerAuthentication says DISABLE"
        remedy = "set it, or write a PeerAuthentication with mtls mode DISABLE for this proxy's labels or namespace"
        yield Problem("error", "missing", *loaded.where(("spec",)), title, "spec.identity", "", expected, remedy)
    for place, each in enumerate(spec.outbound):
        if each.service is None:
            continue
        path: Path = ("spec", "outbound", place, "service")
        at = (*loaded.where(path), title, field_name(path), quote(str(each.service)))
        ports = destinations.of_host(each.service.host, proxy.namespace)
        if ports is None:
            hint = destinations.nearest(each.service.host.partition(".")[0], proxy.namespace)
            yield Problem("warning", "reference", *at, "no such Service or ServiceEntry", hint)
        elif each.service.port not in ports:
            expected = f"it has no such port; its ports are {', '.join(map(str, ports))}"
            yield Problem("warning", "reference", *at, expected)
    if spec.admin is not None and not spec.admin.listen.is_loopback:
        path = ("spec", "admin", "listen")
        at = (*loaded.where(path), title, field_name(path), quote(str(spec.admin.listen)))
        expected = "other machines can read health and metrics at this address"
        remedy = "listen on 127.0.0.1 or a unix socket where nobody needs to"
        yield Problem("warning", "value", *at, expected, remedy)


def _nobody_is_admitted(documents: Documents, proxy: Proxy) -> Iterator[Problem]:
    """ALLOW policies that ask for an identity where nobody has one."""
    if not proxy.spec.inbound or effective_mode(documents.peer_authentications, proxy) != "DISABLE":
        return
    for policy in documents.authorization_policies:
        selector = policy.model.spec.selector or WorkloadSelector()
        own = policy.model.namespace in (proxy.namespace, ROOT_NAMESPACE) and selector.selects(proxy.metadata.labels)
        if own and admits_nobody_without_certificates(policy.model):
            expected = (
                "admits nobody: PeerAuthentication is DISABLE here, and without mutual TLS no caller has an identity"
            )
            yield warning(policy, ("spec", "rules"), expected, "allow by ipBlocks, or let PeerAuthentication be STRICT")


def effective_mode(policies: Sequence[Document[PeerAuthentication]], proxy: Proxy) -> str:
    """The mTLS mode of a workload as a whole: its own document's, else its namespace's, else the mesh's."""
    labels: Mapping[str, str] = proxy.metadata.labels
    scopes: list[list[str]] = [[], [], []]
    for policy in policies:
        spec = policy.model.spec
        selected = spec.selector or WorkloadSelector()
        if policy.model.namespace == proxy.namespace and selected.match_labels and selected.selects(dict(labels)):
            scopes[0].append(spec.mtls.mode)
        elif policy.model.namespace == proxy.namespace and not selected.match_labels:
            scopes[1].append(spec.mtls.mode)
        elif policy.model.namespace == ROOT_NAMESPACE and not selected.match_labels:
            scopes[2].append(spec.mtls.mode)
    modes = (mode for scope in scopes for mode in scope[:1] if mode != "UNSET")
    return next(modes, "PERMISSIVE")
