"""The names that documents give to this workload and to hosts."""

from dataclasses import replace

from meshd.process.known_services import KnownServices

BOOTSTRAP = """
apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: orders-v2, labels: {app: orders, version: v2}}
spec: {telemetry: null, inbound: [{listen: "127.0.0.1:0", app: "127.0.0.1:9"}]}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s}
spec: {selector: {app: %s}, ports: [{port: 80}]}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: egress}
spec:
  hosts: [api.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1}]
"""


def test_the_service_that_selects_us_and_the_namespaces_of_hosts(folder):
    folder.file.write_text(BOOTSTRAP)
    folder.policy("other", SERVICE % ("carts", "default", "carts"))
    folder.policy("elsewhere", SERVICE % ("aaa", "shop", "orders"))
    folder.policy("own", SERVICE % ("orders", "default", "orders"))
    folder.policy("entry", ENTRY)
    found = KnownServices(folder.accepted)()
    assert (found.own, found.namespaces) == ("orders", {"api.example.com": "egress"})


def test_what_is_known_is_read_again_for_a_new_generation_only(folder):
    accepted = folder.accepted()
    served = [accepted]
    known = KnownServices(lambda: served[0])
    first = known()
    assert (first.own, first.namespaces) == ("", {})
    assert known() is first
    served[0] = replace(accepted, generation=2)
    assert known() is not first
