"""Fifty mistakes that people make, each seeded into a good set of documents: what is said names the line, the field and
the remedy."""

import pytest
import yaml

from meshd.cli.check import check

GOOD = """\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  ports:
    - {name: http, port: 80}
---
apiVersion: v1
kind: Service
metadata: {name: reviews-v2, namespace: shop}
spec:
  ports:
    - {name: http, port: 80}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary, namespace: shop}
spec:
  parentRefs:
    - {group: "", kind: Service, name: reviews, port: 80}
  rules:
    - matches:
        - path: {type: PathPrefix, value: /reviews}
          headers: [{name: x-canary, value: "true"}]
          method: GET
      timeouts: {request: 10s, backendRequest: 2s}
      retry: {codes: [503], attempts: 2, backoff: 25ms}
      backendRefs:
        - {name: reviews-v2, port: 80, weight: 10}
    - filters:
        - type: RequestHeaderModifier
          requestHeaderModifier:
            set: [{name: x-from, value: mesh}]
      backendRefs:
        - {name: reviews, port: 80}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  action: ALLOW
  rules:
    - from:
        - source: {principals: ["cluster.local/ns/shop/sa/storefront"]}
      to:
        - operation: {methods: ["GET"], paths: ["/reviews/*"]}
      when:
        - {key: "request.headers[x-team]", values: ["shop"]}
    - from:
        - source: {ipBlocks: ["10.0.0.0/8"]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec:
  mtls: {mode: STRICT}
---
apiVersion: meshd.dev/v1alpha1
kind: BackendPolicy
metadata: {name: backend, namespace: shop}
spec:
  targetRefs:
    - {kind: Service, name: reviews}
  retry:
    attempts: 1
    budget: {percent: 20, minPerSecond: 10}
  connections: {max: 100, maxPending: 1024}
---
apiVersion: meshd.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: limits, namespace: shop}
spec:
  rules:
    - {requests: 10, per: second, key: identity}
---
apiVersion: meshd.dev/v1alpha1
kind: FaultPolicy
metadata: {name: drill, namespace: shop}
spec:
  rules:
    - {header: x-drill, delay: {fixed: 2s, percentage: 10}}
"""

# What is written, what it becomes, then what is said: the field, and words of the remedy or of what was expected. The
# line is that of the change; where it is not, because something around it lacks something or shows it only later, the
# distance follows.
MISTAKES = [
    # names that are nearly right
    ("kind: HTTPRoute", "kind: HttpRoute", "kind", "did you mean 'HTTPRoute'?"),
    ("kind: BackendPolicy", "kind: BackendPolices", "kind", "did you mean 'BackendPolicy'?"),
    ("security.istio.io/v1\nkind: Auth", "security.istio.io/v2\nkind: Auth", "apiVersion", "'security.istio.io/v1'"),
    ("  parentRefs:", "  parentRef:", "spec.parentRef", "did you mean 'parentRefs'?"),
    ("          headers: [", "          header: [", "spec.rules[0].matches[0].header", "did you mean 'headers'?"),
    ("action: ALLOW", "action: ALOW", "spec.action", "did you mean 'ALLOW'?"),
    ("action: ALLOW", "action: allow", "spec.action", "did you mean 'ALLOW'?"),
    ('{methods: ["GET"]', '{method: ["GET"]', "spec.rules[0].to[0].operation.method", "did you mean 'methods'?"),
    ("source: {principals", "source: {principal", "spec.rules[0].from[0].source.principal", "'principals'?"),
    ("matchLabels: {app", "matchLabel: {app", "spec.selector.matchLabel", "did you mean 'matchLabels'?"),
    ("mode: STRICT", "mode: STRIKT", "spec.mtls.mode", "did you mean 'STRICT'?"),
    ("type: PathPrefix", "type: Prefix", "spec.rules[0].matches[0].path.type", "did you mean 'PathPrefix'?"),
    ("method: GET", "method: get", "spec.rules[0].matches[0].method", "did you mean 'GET'?"),
    ("request.headers[x-team]", "request.header[x-team]", "spec.rules[0].when[0].key", "request.headers[NAME]"),
    ("per: second", "per: seconds", "spec.rules[0].per", "did you mean 'second'?"),
    ("minPerSecond: 10", "minPerSeconds: 10", "spec.retry.budget.minPerSeconds", "did you mean 'minPerSecond'?"),
    ("metadata: {name: canary,", "metadata: {nam: canary,", "metadata.nam", "did you mean 'name'?"),
    # types
    ("weight: 10", 'weight: "10"', "spec.rules[0].backendRefs[0].weight", "remove the quotes: 10"),
    ('value: "true"', "value: true", "spec.rules[0].matches[0].headers[0].value", 'put it in quotes: "true"'),
    ('methods: ["GET"]', "methods: GET", "spec.rules[0].to[0].operation.methods", "write '- ' before each entry"),
    ("attempts: 1\n", "attempts: one\n", "spec.retry.attempts", "expected a whole number"),
    ("mtls: {mode: STRICT}", "mtls: STRICT", "spec.mtls", "expected a mapping"),
    ("      to:\n", "      to: null\n      x-to:\n", "spec.rules[0].to", "give it a value or remove the key"),
    # values
    ("request: 10s", "request: 10", "spec.rules[0].timeouts.request", "such as '10s'"),
    ("request: 10s", "request: 1s", "spec.rules[0].timeouts.backendRequest", "no longer than that of 'request'"),
    ("value: /reviews}", "value: reviews}", "spec.rules[0].matches[0].path.value", "did you mean '/reviews'?"),
    ("value: /reviews}", "value: //reviews}", "spec.rules[0].matches[0].path.value", "must not contain '//'"),
    ("10.0.0.0/8", "10.0.0.0/33", "spec.rules[1].from[0].source.ipBlocks[0]", "such as '10.0.0.0/8'"),
    ("codes: [503]", "codes: [200]", "spec.rules[0].retry.codes[0]", "at least 400"),
    ("percentage: 10", "percentage: 110", "spec.rules[0].delay.percentage", "at most 100"),
    ("requests: 10", "requests: 0", "spec.rules[0].requests", "at least 1"),
    ("key: identity", "key: client", "spec.rules[0].key", "'none', 'identity' or 'header:NAME'"),
    ("metadata: {name: strict,", "metadata: {name: Strict,", "metadata.name", "in lower case"),
    ('paths: ["/reviews/*"]', 'paths: ["/{*}x"]', "spec.rules[0].to[0].operation.paths[0]", "as a whole segment"),
    ('paths: ["/reviews/*"]', 'paths: [""]', "spec.rules[0].to[0].operation.paths[0]", "remove it"),
    # what is missing, twice, or does not go together
    (
        "{name: reviews-v2, port: 80, weight",
        "{name: reviews-v2, weight",
        "spec.rules[0].backendRefs[0].port",
        "required",
    ),
    ('values: ["shop"]', "values: []", "spec.rules[0].when[0].values", "expected values or notValues"),
    ("delay: {fixed: 2s, percentage: 10}", "match: {method: GET}", "spec.rules[0]", "expected delay, abort or both"),
    ("name: reviews-v2, namespace: shop}", "name: reviews, namespace: shop}", "metadata.name", "has it already"),
    ("  action: ALLOW\n", "  action: ALLOW\n  action: DENY\n", "spec.action", "it stands first in line"),
    ("type: RequestHeaderModifier", "type: URLRewrite", "spec.rules[1].filters[0].urlRewrite", "required"),
    ("  action: ALLOW\n", "  action: CUSTOM\n", "spec.provider", "the name of the authorizer", -1),
    # YAML itself
    ("  rules:\n    - from:", "  rules:\n   - from:\n    - to:", "spec.rules", "not YAML", 1),
    ("  mtls: {mode: STRICT}", "\tmtls: {mode: STRICT}", "spec", "not YAML"),
    # what a standard has and meshd has not
    ("request.headers[x-team]", "experimental.envoy.filters.a[b]", "spec.rules[0].when[0].key", "is not supported yet"),
    ("kind: FaultPolicy", "kind: VirtualService", "kind", "write an HTTPRoute with a Service as parent"),
    # what shows only between documents
    (
        "kind: Service, name: reviews, port: 80}",
        "kind: Service, name: review, port: 80}",
        "spec.parentRefs[0].name",
        "did you mean 'reviews'?",
    ),
    (
        "{name: reviews-v2, port: 80, weight",
        "{name: reviews-v3, port: 80, weight",
        "spec.rules[0].backendRefs[0].name",
        "did you mean 'reviews-v2'?",
    ),
    (
        "{name: reviews-v2, port: 80, weight",
        "{name: reviews-v2, port: 81, weight",
        "spec.rules[0].backendRefs[0].port",
        "its ports are 80",
    ),
    (
        "    - {kind: Service, name: reviews}",
        "    - {kind: Service, name: revews}",
        "spec.targetRefs[0].name",
        "did you mean 'reviews'?",
    ),
    (
        "kind: Service, name: reviews, port: 80}",
        "kind: Gateway, name: reviews, port: 80}",
        "spec.parentRefs[0]",
        "write 'group: \"\"'",
    ),
    (
        "    - from:\n        - source: {ipBlocks",
        "    - {}\n    - from:\n        - source: {ipBlocks",
        "spec.rules[2]",
        "remove one of the two",
        1,
    ),
    ("weight: 10", "weight: 0", "spec.rules[0].backendRefs", "answered with 503"),
    (
        'source: {ipBlocks: ["10.0.0.0/8"]}',
        "source: {namespaces: [a], notNamespaces: [a]}",
        "spec.rules[1].from[0].source",
        "never",
    ),
]


def line_of_change(before, after):
    """The first line that differs."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next(number for number, (one, other) in enumerate(pairs, 1) if one != other)


def problems_of(tmp_path, text):
    file = tmp_path / "documents.yaml"
    file.write_text(text)
    return check(None, [file], 0.0)[1]


def test_without_mistakes_there_is_nothing_to_say(tmp_path):
    assert problems_of(tmp_path, GOOD) == []


def test_there_are_fifty():
    assert len(MISTAKES) >= 50
    assert len(set(MISTAKES)) == len(MISTAKES)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[1].strip()[:40].replace("\n", " "))
def test_a_mistake_is_named(tmp_path, mistake):
    before, after, field, remedy, *away = mistake
    assert GOOD.count(before) >= 1, "the mistake must change something"
    text = GOOD.replace(before, after, 1)
    problems = problems_of(tmp_path, text)
    told = "\n".join(map(str, problems))
    found = [each for each in problems if field in each.field and remedy in each.message]
    assert found, told
    line = line_of_change(GOOD, text) + sum(away)
    assert (str(tmp_path / "documents.yaml"), line) in [(each.file, each.line) for each in found], told
    assert all(each.column for each in found)


def test_the_good_set_is_plain_yaml():
    assert len(list(yaml.safe_load_all(GOOD))) == 8
