"""What a policy is compiled for, and what is taken for granted."""

from meshd.filters.base import Scope


def test_a_scope_has_the_defaults_of_istio():
    scope = Scope("shop", {"app": "web"}, 8080)
    assert (scope.trust_domain, scope.aliases, scope.root_namespace) == ("cluster.local", (), "istio-system")
