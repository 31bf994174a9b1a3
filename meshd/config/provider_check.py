"""CUSTOM policies whose authorizer nobody knows. They take down nothing but themselves, and those closed: what they
would ask about is denied, as in Istio. So it is a warning, for the rest of the set serves."""

from collections.abc import Iterator

from meshd.config.authorization import AuthorizationPolicy
from meshd.config.bootstrap import LoadedProxy
from meshd.config.destinations import Destinations
from meshd.config.documents import Documents
from meshd.config.errors import Path, Problem, did_you_mean, field_name, quote
from meshd.config.extension_provider import ExtensionProvider
from meshd.config.peer_authentication import ROOT_NAMESPACE
from meshd.config.proxy import Proxy
from meshd.config.references import WorkloadSelector
from meshd.config.route_check import warning

DENIED = "every request that its rules match is denied"


def check_providers(documents: Documents, loaded: LoadedProxy, destinations: Destinations) -> Iterator[Problem]:
    """The policies for this workload that name an unknown authorizer, and authorizers in use at an unknown service."""
    proxy = loaded.proxy
    providers = {each.name: each for each in proxy.spec.extension_providers}
    used: dict[str, ExtensionProvider] = {}
    for policy in documents.authorization_policies:
        provider = policy.model.spec.provider
        if provider is None or policy.model.is_dry_run or not _is_for(policy.model, proxy):
            continue
        if provider.name in providers:
            used[provider.name] = providers[provider.name]
            continue
        names = ", ".join(providers) or "it has none"
        expected = f"expected one of the Proxy's extensionProviders: {names}; {DENIED}"
        hint = did_you_mean(provider.name, list(providers))
        yield warning(policy, ("spec", "provider", "name"), expected, hint, quote(provider.name))
    for place, each in enumerate(proxy.spec.extension_providers):
        if each.name in used:
            yield from _service(loaded, place, each, destinations)


def _is_for(policy: AuthorizationPolicy, proxy: Proxy) -> bool:
    selector = policy.spec.selector or WorkloadSelector()
    own = policy.namespace in (proxy.namespace, ROOT_NAMESPACE)
    return own and not policy.spec.targets and selector.selects(proxy.metadata.labels)


def _service(
    loaded: LoadedProxy, place: int, provider: ExtensionProvider, destinations: Destinations
) -> Iterator[Problem]:
    given, proxy = provider.authorizer, loaded.proxy
    host = given.service.rpartition("/")[2]
    ports = destinations.of_host(host, proxy.namespace)
    if ports is not None and given.port in ports:
        return
    kind = "envoyExtAuthzHttp" if provider.envoy_ext_authz_http is not None else "envoyExtAuthzGrpc"
    path: Path = ("spec", "extensionProviders", place, kind, "service")
    known = "" if ports is None else f"; its ports are {', '.join(map(str, ports))}"
    expected = f"expected the host and port of a known service{known}; {DENIED}"
    hint = destinations.nearest(host.partition(".")[0], proxy.namespace)
    at = (*loaded.where(path), f"Proxy {proxy.namespace}/{proxy.name}", field_name(path))
    yield Problem("warning", "reference", *at, quote(f"{host}:{given.port}"), expected, hint)
