"""Sets of documents of any size, shaped like those of a mesh: services with endpoints, routes and policies, each about
one service, and some about services that there are not."""

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: w{i}, namespace: shop}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: w{i}-1, namespace: shop, labels: {{kubernetes.io/service-name: w{i}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: [10.0.{a}.{b}]}}]
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{i}, namespace: shop}}
spec:
  hosts: [s{i}.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
  - {{address: 10.1.{a}.{b}, serviceAccount: s{i}}}
  - {{address: 10.2.{a}.{b}, serviceAccount: s{i}}}
  - {{address: 10.3.{a}.{b}, serviceAccount: s{i}}}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r{i}, namespace: shop}}
spec:
  parentRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: s{i}}}]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: /v1}}}}]
    backendRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: s{i}, port: 80}}]
  - backendRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: s{i}, port: 80}}]
"""
CALLS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: g{i}, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: w{i}}}]
  rules: [{{backendRefs: [{{name: w{i}, port: 80}}]}}]
"""
BACKEND = """
apiVersion: meshd.dev/v1alpha1
kind: BackendPolicy
metadata: {{name: b{i}, namespace: shop}}
spec:
  targetRefs: [{{kind: ServiceEntry, name: s{i}}}]
  connections: {{max: 10}}
  retry: {{attempts: 2}}
"""
AUTHORIZATION = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: a{i}, namespace: shop}}
spec:
  action: ALLOW
  rules:
  - from: [{{source: {{principals: ["cluster.local/ns/shop/sa/s{i}"]}}}}]
    to: [{{operation: {{methods: [GET], paths: ["/s{i}/*"]}}}}]
"""
OTHERS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: d{i}, namespace: shop}}
spec: {{host: s{i}.test, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 7}}}}}}}}
---
apiVersion: meshd.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{name: l{i}, namespace: shop}}
spec: {{targetRefs: [{{name: w{i}}}], rules: [{{requests: 5, per: second}}]}}
---
apiVersion: meshd.dev/v1alpha1
kind: FaultPolicy
metadata: {{name: f{i}, namespace: shop}}
spec: {{targetRefs: [{{name: w{i}}}], rules: [{{abort: {{status: 503}}}}]}}
"""
LOST = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: lost{i}, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: nowhere{i}}}]
  rules: [{{backendRefs: [{{name: nobody{i}, port: 80}}]}}]
"""


def written(template, count):
    """That many documents, in one text."""
    return "---".join(template.format(i=i, a=i // 250, b=i % 250 + 1) for i in range(count))


def write_large_set(folder, count, **changed):
    """`count` services of three endpoints, as many routes, and as many policies; `changed` are files to write else."""
    folder.mkdir(exist_ok=True)
    texts = {
        "services": written(ENTRY, count),
        "routes": written(ROUTE, count),
        "policies": written(BACKEND, count // 2) + "---" + written(AUTHORIZATION, count - count // 2),
        **changed,
    }
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def write_every_kind(folder, count):
    """`count` documents of every kind that is about a service, and as many routes to services that there are not."""
    others = {"plain": written(SERVICE, count), "calls": written(CALLS, count), "others": written(OTHERS, count)}
    return write_large_set(folder, count, **others, lost=written(LOST, count))
