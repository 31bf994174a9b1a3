"""Policies that act on no workload: a label, a name or a namespace that is misspelt leaves a door open in silence.

Known are the sidecar itself, the pods that Services select, the endpoints of EndpointSlices and ServiceEntries, and the
service accounts that policies name; others may exist, so whatever is found here is a warning. Rule 1: a sidecar and an
endpoint of a ServiceEntry have just the labels that are written down; of others only some are known, so there one label
that is the same and none that differs is enough. What has no labels counts as `app: NAME`, as everybody labels it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from meshd.config.authorization import AuthorizationPolicy
from meshd.config.bootstrap import LoadedProxy
from meshd.config.destination_rule import DestinationRule
from meshd.config.documents import Document, Documents
from meshd.config.errors import Path, Problem
from meshd.config.hints import Hints
from meshd.config.model import Labels, Resource
from meshd.config.peer_authentication import ROOT_NAMESPACE
from meshd.config.proxy import Proxy
from meshd.config.references import WorkloadSelector
from meshd.config.request_authentication import RequestAuthentication
from meshd.config.route_check import warning
from meshd.config.service import ACCOUNTS_ANNOTATION

_ACCOUNT: Final = re.compile(r"(?:^|/)ns/([a-z0-9-]+)/sa/([a-z0-9.-]+)\Z")
ANYWHERE: Final = ""  # no name of a namespace
NOWHERE: Final = "selects no workload that is known here: the policy does not act"
OF_MESH: Final = (AuthorizationPolicy, RequestAuthentication, DestinationRule)  # in the root namespace, for every one


@dataclass(frozen=True, slots=True)
class Known:
    """One workload, or several with labels in common."""

    namespace: str
    labels: Mapping[str, str]
    exact: bool = False  # whether these are all of its labels

    def may_be(self, selector: WorkloadSelector) -> bool:
        """Whether the selector may mean it."""
        if self.exact:
            return selector.selects(dict(self.labels))
        same = self.labels.items() & selector.match_labels.items()
        return bool(same) and all(self.labels.get(key, value) == value for key, value in selector.match_labels.items())


class Workloads:
    """Those that are known, by namespace and label; the namespace `ANYWHERE` has all of them."""

    __slots__ = ("_by_label", "_hints", "_in", "_values", "namespaces")

    def __init__(self, known: Iterable[Known]) -> None:
        self.namespaces: set[str] = set()
        self._in: dict[str, int] = {}  # how many
        self._by_label: dict[tuple[str, str, str], list[Known]] = {}
        self._values: dict[str, dict[str, set[str]]] = {}  # of each label, by namespace
        self._hints = Hints()
        seen: set[tuple[str, tuple[tuple[str, str], ...], bool]] = set()
        for each in known:
            labels = tuple(each.labels.items()) if len(each.labels) == 1 else tuple(sorted(each.labels.items()))
            if (each.namespace, labels, each.exact) in seen:
                continue
            seen.add((each.namespace, labels, each.exact))
            self.namespaces.add(each.namespace)
            for namespace in (each.namespace, ANYWHERE):
                self._in[namespace] = self._in.get(namespace, 0) + 1
                for key, value in labels:
                    self._by_label.setdefault((namespace, key, value), []).append(each)
                    self._values.setdefault(namespace, {}).setdefault(key, set()).add(value)

    def __bool__(self) -> bool:
        return bool(self._in)

    def has(self, namespace: str) -> bool:
        """Whether any is in this namespace."""
        return namespace in self._in

    def selected(self, namespace: str, selector: WorkloadSelector) -> Iterator[Known]:
        """Those that a selector with labels may mean: each has one of them."""
        for key, value in selector.match_labels.items():
            yield from (each for each in self._by_label.get((namespace, key, value), ()) if each.may_be(selector))

    def nearest_namespace(self, given: str) -> str:
        """The namespace that may be meant."""
        return self._hints.nearest(given, self.namespaces)

    def has_label(self, namespace: str, key: str) -> bool:
        """Whether any has a label of that name."""
        return key in self._values.get(namespace, {})

    def nearest_label(self, namespace: str, key: str, value: str) -> str:
        """What a label may have been meant to be; nothing when it is one that somebody has."""
        labels = self._values.get(namespace, {})
        if key in labels:
            return "" if value in labels[key] else self._hints.nearest(value, labels[key])
        return self._hints.nearest(key, labels)


def check_workloads(documents: Documents, loaded: LoadedProxy | None) -> Iterator[Problem]:
    """What acts on nobody, and the sidecar that lets in everybody."""
    known = Workloads(_known(documents, None if loaded is None else loaded.proxy))
    if known:
        for policy, selector, at in _selecting(documents):
            yield from _selects_nobody(policy, selector, at, known)
    yield from _of_waypoints(documents)
    yield from _without_account(documents)
    if loaded is not None:
        yield from _admits_everybody(documents, loaded)
        yield from _is_somebody_else(documents, loaded)


def _known(documents: Documents, proxy: Proxy | None) -> Iterator[Known]:
    if proxy is not None:
        yield Known(proxy.namespace, proxy.metadata.labels, exact=True)
    for service in documents.services:
        yield Known(service.model.namespace, service.model.spec.selector or {"app": service.model.name})
    for piece in documents.endpoint_slices:
        own = {key: value for key, value in piece.model.metadata.labels.items() if "kubernetes.io/" not in key}
        yield Known(piece.model.namespace, {"app": piece.model.service, **own})
    for entry in documents.service_entries:
        for endpoint in entry.model.spec.endpoints:
            exact = bool(endpoint.labels)
            name = endpoint.service_account or entry.model.name
            yield Known(entry.model.namespace, endpoint.labels or {"app": name}, exact=exact)
    for policy in documents.authorization_policies:
        for rule in policy.model.spec.rules:
            for each in rule.from_:
                for principal in (*each.source.principals, *each.source.not_principals):
                    if found := _ACCOUNT.search(principal):
                        yield Known(found[1], {"app": found[2]})


def _selecting(documents: Documents) -> Iterator[tuple[Document[Resource], WorkloadSelector | None, Path]]:
    """Every policy for workloads, with its selector; those that are for Services are not."""
    at: Path = ("spec", "selector", "matchLabels")
    access = [(each, each.model.spec) for each in documents.authorization_policies]
    yield from ((each, spec.selector, at) for each, spec in access if not spec.targets)
    tokens = [(each, each.model.spec) for each in documents.request_authentications]
    yield from ((each, spec.selector, at) for each, spec in tokens if not spec.targets)
    yield from ((each, each.model.spec.selector, at) for each in documents.peer_authentications)
    limits = [(each, each.model.spec) for each in documents.rate_limit_policies]
    faults = [(each, each.model.spec) for each in documents.fault_policies]
    sizes = [(each, each.model.spec) for each in documents.request_policies]
    yield from ((each, spec.selector, at) for each, spec in (*limits, *faults, *sizes) if not spec.target_refs)
    at = ("spec", "workloadSelector", "matchLabels")
    rules = [(each, each.model.spec.workload_selector) for each in documents.destination_rules]
    yield from ((each, selector, at) for each, selector in rules if selector is not None)


def _selects_nobody(
    policy: Document[Resource], selector: WorkloadSelector | None, at: Path, known: Workloads
) -> Iterator[Problem]:
    namespace = policy.model.namespace
    of_mesh = namespace == ROOT_NAMESPACE and isinstance(policy.model, OF_MESH)
    here = ANYWHERE if of_mesh else namespace
    if selector is None or not selector.match_labels:
        meant = "" if known.has(here) or namespace == ROOT_NAMESPACE else known.nearest_namespace(namespace)
        if meant:
            expected = "no workload is known in this namespace: the policy does not act"
            yield warning(policy, ("metadata", "namespace"), expected, meant, repr(namespace))
        return
    if any(known.selected(here, selector)):
        return
    for key, value in selector.match_labels.items():
        hint = known.nearest_label(here, key, value)
        if hint:
            given = value if known.has_label(here, key) else key
            yield warning(policy, (*at, key), NOWHERE, hint, repr(given))
            return
    elsewhere = sorted({each.namespace for each in known.selected(ANYWHERE, selector)})
    hint = f"there is one in namespace {elsewhere[0]!r}" if elsewhere else ""
    yield warning(policy, at, NOWHERE, hint, _shown(selector.match_labels))


def _shown(labels: Labels) -> str:
    return ", ".join(f"{key}: {value}" for key, value in labels.items())


def _of_waypoints(documents: Documents) -> Iterator[Problem]:
    """Istio's policies for Services are carried out by waypoints; a sidecar passes them over."""
    policies = [(policy, policy.model.spec.targets) for policy in documents.authorization_policies]
    tokens = [(policy, policy.model.spec.targets) for policy in documents.request_authentications]
    for policy, targets in (*policies, *tokens):
        for at, ref in targets:
            if ref.kind in ("Service", "ServiceEntry"):
                expected = f"a policy for a {ref.kind} is a waypoint's: no sidecar acts on it"
                yield warning(policy, ("spec", *at), expected, "use 'selector'")


def _without_account(documents: Documents) -> Iterator[Problem]:
    """Endpoints of the mesh that may prove to be somebody else than their service."""
    named = set(_hosts_with_identities(documents))
    for entry in documents.service_entries:
        spec = entry.model.spec
        listed = any(name.startswith("spiffe://") for name in spec.subject_alt_names)
        if spec.location != "MESH_INTERNAL" or listed or named.issuperset(spec.hosts):
            continue
        expected = f"no serviceAccount: whoever runs in namespace {entry.model.namespace!r} may answer as this service"
        if not spec.endpoints and spec.resolution.startswith("DNS"):
            remedy = "name the identities of those that do in 'subjectAltNames'"
            yield warning(entry, ("spec", "location"), expected, remedy, repr(spec.location))
        for place, endpoint in enumerate(spec.endpoints):
            if not endpoint.service_account:
                remedy = "name the account that runs it, or the identities of all in 'subjectAltNames'"
                yield warning(entry, ("spec", "endpoints", place), expected, remedy, repr(endpoint.address))


def _hosts_with_identities(documents: Documents) -> Iterator[str]:
    for rule in documents.destination_rules:
        policy = rule.model.spec.traffic_policy
        if policy is not None and policy.tls is not None and policy.tls.subject_alt_names:
            yield rule.model.spec.host


def _is_somebody_else(documents: Documents, loaded: LoadedProxy) -> Iterator[Problem]:
    """Services that this sidecar answers for, under an account that their callers do not expect."""
    proxy = loaded.proxy
    if not proxy.spec.inbound or proxy.spec.identity is None:
        return
    own = proxy.service_account
    widened = {
        (backend.model.namespace, ref.name)
        for backend in documents.backend_policies
        if backend.model.spec.tls.peer_identity not in (None, "serviceAccount")
        for ref in backend.model.spec.target_refs
        if ref.kind == "Service"
    }
    for service in documents.services:
        model = service.model
        selector = model.spec.selector
        if not selector or model.namespace != proxy.namespace or (model.namespace, model.name) in widened:
            continue
        is_ours = selector.items() <= proxy.metadata.labels.items()
        if is_ours and own not in (model.accounts or (model.name,)):
            listed = " or ".join(model.accounts)
            expected = f"its callers expect account {listed or model.name!r}, and this sidecar runs as {own!r}"
            if not listed:
                expected += ": where nothing is said the account has the Service's name"
            remedy = f"name its accounts in the annotation {ACCOUNTS_ANNOTATION!r}"
            yield warning(service, ("metadata", "annotations"), expected, remedy)


def _admits_everybody(documents: Documents, loaded: LoadedProxy) -> Iterator[Problem]:
    """An app that whoever is not denied may call."""
    proxy = loaded.proxy
    if not proxy.spec.inbound:
        return
    for policy in documents.authorization_policies:
        spec = policy.model.spec
        if policy.model.is_dry_run:
            continue  # it keeps nobody out
        mine = policy.model.namespace in (proxy.namespace, ROOT_NAMESPACE) and not spec.targets
        selector = spec.selector or WorkloadSelector()
        if mine and spec.action in ("ALLOW", "CUSTOM") and selector.selects(proxy.metadata.labels):
            return
    expected = "no AuthorizationPolicy with action ALLOW selects this workload: any caller that is not denied is let in"
    remedy = "write one that names its callers, as policies/deny-by-default does"
    title = f"Proxy {proxy.namespace}/{proxy.name}"
    yield Problem(
        "warning", "missing", *loaded.where(("spec", "inbound"), key=True), title, "spec.inbound", "", expected, remedy
    )
