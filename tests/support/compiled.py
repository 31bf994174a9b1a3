"""Documents as text, and what is compiled from them (`build` of the fixtures)."""

from support.documents import document
from support.requests import request

OUTBOUND = "outbound: [{listen: '127.0.0.1:0'}]"
INBOUND = "inbound: [{listen: '127.0.0.1:0', app: '127.0.0.1:8080'}]"
PLAIN = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain, namespace: shop}
spec: {mtls: {mode: DISABLE}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-1, namespace: shop, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [ADDRESS]}]
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec:
  hosts: [api.test, "*.b.test"]
  ports: [{name: http, number: 80}]
  resolution: STATIC
  endpoints: [{address: 10.1.0.1}]
"""


def service(name="web", address="10.0.0.1"):
    return (SERVICE + "---" + SLICE).replace("NAME", name).replace("ADDRESS", address)


def backend_policy(spec="", name="b", target="name: web"):
    return f"""
apiVersion: meshd.dev/v1alpha1
kind: BackendPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{{{target}}}], {spec}}}
"""


def proxy(spec=OUTBOUND, identity=""):
    text = "apiVersion: meshd.dev/v1alpha1\nkind: Proxy\n"
    text += "metadata: {name: web, namespace: shop, labels: {app: web}}\nspec:\n"
    lines = [each for each in (identity, *spec.splitlines()) if each]
    return document(text + "".join(f"  {line}\n" for line in lines)).model


def found(snapshot, target="/", authority="web.shop", **given):
    return snapshot.plans["outbound-0"].table(authority.encode()).find(request(target, **given))
