"""The RBAC filter of a real Envoy and our engine answer the same requests the same way.

Policies are drawn at random, from a seed that a failure names, and all of them are in one Envoy: a header says which
route, and so which policies, a request is for. The same octets go to Envoy over a socket and through our codec to our
engine; who sends them differs in address, identity and server name. Where the two differ on purpose the table at the
end says why.
"""

import json
import os
import random
import socket
import ssl
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.conftest import TRUST_DOMAIN, Mesh
from peers.test_envoy import TYPE, envoy_binary
from support.authorization import peer
from support.envoy_rbac import allows
from support.istio_rbac import rbac_of
from support.processes import Running, free_port, until

from meshd.config.authorization import AuthorizationPolicy
from meshd.core.errors import ProtocolError
from meshd.core.exchange import Exchange
from meshd.core.peer import Peer
from meshd.filters.authz import Authorizer
from meshd.filters.base import Scope
from meshd.http.h1 import ServerCodec

SEED = int(os.environ.get("MESHD_RBAC_SEED", "1"))
SETS, REQUESTS = 80, 8
WHO = {"web": "default", "cart": "shop"}  # service account → namespace
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.1.0.3")
NAMES = ("a.test", "b.test", "api.a.test")
METHODS = ("GET", "POST", "DELETE")
PATHS = ("/", "/admin", "/admin/", "/admin/users", "/api/v1/items", "/api/v1/items/7", "/api/v1/items/7/parts")
AWRY = ("/api/../admin", "//admin", "/%61dmin", "/./api/v1/items", "/admin?q=1", "/api/v1%2Fitems", "/admin;x=1")
AWRY += ("/api/v1/items[7]", "/admin%2Fusers", "/x/..%2fadmin")
ACCOUNTS = [f"{TRUST_DOMAIN}/ns/{namespace}/sa/{name}" for name, namespace in WHO.items()]


def like(draw, *words):
    """A pattern that may match some of the words: one of them, its beginning, its end, or anything."""
    word = draw.choice(words)
    cut = draw.randint(1, max(1, len(word) - 1))
    return draw.choice([word, word, word[:cut] + "*", "*" + word[-cut:], "*"])


def few(draw, make):
    return [make() for _ in range(draw.randint(1, 2))]


class Author:
    """Writes policies."""

    def __init__(self, draw, ports):
        self.draw = draw
        self.operation = {
            "hosts": lambda: like(draw, *NAMES, "A.Test"),
            "methods": lambda: like(draw, *METHODS),
            "paths": self.path,
            "ports": lambda: draw.choice([*map(str, ports), "1"]),
        }
        self.source = {
            "principals": lambda: like(draw, *ACCOUNTS),
            "requestPrincipals": lambda: "*",
            "namespaces": lambda: like(draw, *WHO.values()),
            "trustDomains": lambda: draw.choice([TRUST_DOMAIN, "other.test", "mesh*", "*.test", "*"]),
            "ipBlocks": self.block,
            "remoteIpBlocks": self.block,
        }
        self.account = lambda: draw.choice(["default/web", "shop/cart", "web", "shop/web"])
        self.conditions = {
            "source.ip": self.block,
            "remote.ip": self.block,
            "destination.ip": self.block,
            "source.namespace": self.source["namespaces"],
            "source.principal": self.source["principals"],
            "source.serviceAccount": self.account,
            "request.auth.principal": lambda: "*",
            "destination.port": self.operation["ports"],
            "connection.sni": lambda: like(draw, *NAMES),
            "request.headers[x-tenant]": lambda: like(draw, "seven", "eight"),
            "request.headers[:method]": self.operation["methods"],
        }

    def path(self):
        templates = ("/api/{*}/items", "/api/v1/items/{*}", "/api/{**}", "/{**}/parts", "/{*}", "/admin/{**}")
        return self.draw.choice([like(self.draw, *PATHS), self.draw.choice(templates)])

    def block(self):
        return self.draw.choice([*ADDRESSES, "127.0.0.0/24", "127.0.0.0/8", "10.0.0.0/8"])

    def fields(self, makers):
        made = {}
        for name in self.draw.sample(sorted(makers), self.draw.randint(1, 2)):
            field = name if self.draw.random() < 0.7 else "not" + name[0].upper() + name[1:]
            made[field] = few(self.draw, makers[name])
        return made

    def from_(self):
        if self.draw.random() < 0.15:
            field = self.draw.choice(["serviceAccounts", "notServiceAccounts"])
            return {"source": {field: few(self.draw, self.account)}}
        return {"source": self.fields(self.source)}

    def when(self):
        key = self.draw.choice(sorted(self.conditions))
        field = "values" if self.draw.random() < 0.7 else "notValues"
        return {"key": key, field: few(self.draw, self.conditions[key])}

    def rule(self):
        made = {}
        if self.draw.random() < 0.5:
            made["from"] = few(self.draw, self.from_)
        if self.draw.random() < 0.6:
            made["to"] = few(self.draw, lambda: {"operation": self.fields(self.operation)})
        if self.draw.random() < 0.4:
            made["when"] = few(self.draw, self.when)
        return made

    def policy(self):
        action = self.draw.choice(["ALLOW", "ALLOW", "DENY"])
        rules = [] if action == "ALLOW" and self.draw.random() < 0.1 else few(self.draw, self.rule)
        return {"action": action, "rules": rules}


def draw_request(draw, number):
    """Octets of one request for the policies of that number."""
    target = draw.choice(PATHS + PATHS + AWRY)
    lines = [
        f"{draw.choice(METHODS)} {target} HTTP/1.1",
        f"Host: {draw.choice([*NAMES, 'A.TEST'])}",
        f"x-case: {number}",
    ]
    tenants = draw.choices(["seven", "eight", "Seven", ""], [3, 3, 2, 1], k=draw.choice([0, 1, 1, 1, 2]))
    lines += [f"x-tenant: {tenant}" for tenant in tenants]
    lines += ["x-forwarded-for: 127.1.0.3"] if draw.random() < 0.2 else []  # nobody believes it
    return "\r\n".join([*lines, "", ""]).encode()


def is_plain(octets):
    """Whether no field that policies look at comes twice, or empty."""
    return octets.count(b"x-tenant: ") < 2 and b"x-tenant: \r" not in octets


class Caller:
    """Who sends: from an address, with an identity or without, asking for a server name."""

    def __init__(self, mesh, ports, address, account="", name=""):
        self.address, self.account, self.name = address, account, name
        self.port = ports[bool(account)]
        self.sock = None
        self.context = None
        if account:
            folder = mesh.identity(account, WHO[account])
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.context.check_hostname = False
            self.context.load_verify_locations(folder / "ca.crt")
            self.context.load_cert_chain(folder / "tls.crt", folder / "tls.key")

    def connect(self):
        sock = socket.create_connection(("127.0.0.1", self.port), 5, source_address=(self.address, 0))
        self.sock = self.context.wrap_socket(sock, server_hostname=self.name) if self.context else sock

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def ask(self, octets):
        """The status that Envoy answers with."""
        if self.sock is None:
            self.connect()
        self.sock.sendall(octets)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.sock.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self.sock.recv(65536)
        if b"connection: close" in head.lower():
            self.close()
        return int(head.split(b" ", 2)[1])

    def peer(self):
        seen = {"server_name": self.name, "local_address": "127.0.0.1", "local_port": self.port}
        if not self.account:
            return Peer(self.address, **seen)
        return peer(WHO[self.account], self.account, TRUST_DOMAIN, self.address, **seen)


def envoy_config(mesh, ports, sets):
    """Two listeners, plain and mutual TLS, and a route with its own policies for every set."""
    folder = mesh.identity("server")
    rbac = f"{TYPE}filters.http.rbac.v3.RBAC"
    routes = []
    for number, policies in enumerate(sets):
        own = {
            name: {"@type": f"{rbac}PerRoute", "rbac": {"rules": rules} if rules else {}}
            for name, rules in zip(("deny", "allow"), rbac_of(policies), strict=True)
        }
        match = {"prefix": "/", "headers": [{"name": "x-case", "string_match": {"exact": str(number)}}]}
        routes.append({"match": match, "direct_response": {"status": 200}, "typed_per_filter_config": own})
    manager = {
        "@type": f"{TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "mesh",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "deny", "typed_config": {"@type": rbac}},
            {"name": "allow", "typed_config": {"@type": rbac}},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPE}filters.http.router.v3.Router"}},
        ],
    }
    files = {"certificate_chain": {"filename": f"{folder}/tls.crt"}, "private_key": {"filename": f"{folder}/tls.key"}}
    trust = {"trusted_ca": {"filename": f"{folder}/ca.crt"}}
    tls = {
        "@type": f"{TYPE}transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [files], "validation_context": trust},
        "require_client_certificate": True,
    }
    listeners = []
    for port, secure in zip(ports, (False, True), strict=True):
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        if secure:
            chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        listener = {"name": f"port-{port}", "address": address, "filter_chains": [chain]}
        if secure:  # which is what remembers the server name
            inspector = {"@type": f"{TYPE}filters.listener.tls_inspector.v3.TlsInspector"}
            listener["listener_filters"] = [{"name": "tls", "typed_config": inspector}]
        listeners.append(listener)
    return {"static_resources": {"listeners": listeners}}


class Judges:
    """Envoy with all sets of policies, and our engine with each."""

    def __init__(self, mesh, sets, ports):
        self.sets, self.ports = sets, ports
        config = mesh.folder / "rbac.envoy.json"
        config.write_text(json.dumps(envoy_config(mesh, ports, sets)))
        argv = [
            envoy_binary(),
            "-c",
            str(config),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
        ]
        self.envoy = Running(argv, mesh.folder / "rbac.envoy.log")
        self.callers = [Caller(mesh, ports, address) for address in ADDRESSES]
        self.callers += [
            Caller(mesh, ports, address, account, name)
            for address, account, name in (
                (ADDRESSES[0], "web", NAMES[0]),
                (ADDRESSES[1], "cart", NAMES[1]),
                (ADDRESSES[2], "web", NAMES[2]),
            )
        ]

    def wait(self):
        probe = self.callers[0]
        try:
            until(lambda: probe.connect() or True, 15)
        except TimeoutError:
            pytest.fail(f"Envoy does not listen: {self.envoy.log}")
        return self

    def close(self):
        for caller in self.callers:
            caller.close()
        self.envoy.stop()

    def ours(self, number, caller, octets):
        """True or false, or None for a request that our codec refuses; and the head as policies saw it."""
        codec = ServerCodec()
        codec.receive(octets)
        try:
            head = codec.next_event()
        except ProtocolError:
            return None, None
        policies = [
            AuthorizationPolicy.model_validate(
                {
                    "apiVersion": "security.istio.io/v1",
                    "kind": "AuthorizationPolicy",
                    "metadata": {"name": f"p{place}", "namespace": "foo"},
                    "spec": spec,
                }
            )
            for place, spec in enumerate(self.sets[number])
        ]
        scope = Scope("foo", {}, caller.port, TRUST_DOMAIN, trusts_proxies=True)
        return Authorizer(policies, scope).decide(Exchange(head, caller.peer(), 0.0)).allowed, head

    def by_the_book(self, number, caller, head):
        """What tests/support/envoy_rbac.py, which other tests trust, says of the same configuration."""
        filters = [{"typedConfig": {"rules": rules}} for rules in rbac_of(self.sets[number])]
        request = {
            "method": head.method.decode(),
            "path": head.path.decode(),
            "authority": head.authority.decode(),
            "headers": {name.decode(): value.decode() for name, value in head.headers},
            "uri": caller.peer().spiffe_id,
            "ip": caller.address,
            "port": caller.port,
            "sni": caller.name,
            "destination": "127.0.0.1",
        }
        return allows(filters, request)


@pytest.fixture
def mesh(tmp_path):
    made = Mesh(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
def test_the_same_verdicts_on_random_policies(mesh):
    draw = random.Random(SEED)
    ports = [free_port(), free_port()]
    author = Author(draw, ports)
    sets = [few(draw, author.policy) for _ in range(SETS)]
    judges = Judges(mesh, sets, ports)
    answers = {True: 0, False: 0, None: 0}
    try:
        judges.wait()
        for number in range(SETS):
            for _ in range(REQUESTS):
                caller, octets = draw.choice(judges.callers), draw_request(draw, number)
                status = caller.ask(octets)
                ours, head = judges.ours(number, caller, octets)
                answers[ours] += 1
                case = f"seed {SEED}: {json.dumps(sets[number])} {octets!r} {caller.peer()!r}"
                assert status in (200, 403, 400), case
                if ours is None:
                    assert status != 200, case
                elif len(head.readings) > 1:  # of which Envoy judges one
                    assert status == 200 or not ours, case
                elif is_plain(octets):
                    assert (status == 200) is ours, case
                    assert judges.by_the_book(number, caller, head) is ours, case
                else:  # ours is the stricter one, as the table below says
                    assert status == 200 or not ours, case
    finally:
        judges.close()
    assert min(answers[True], answers[False]) > SETS  # a test of which all answers are one tests nothing


HERE = {"to": [{"operation": {"hosts": ["a.test"]}}]}
TENANT = "request.headers[x-tenant]"
ON_PURPOSE = [
    # Istio compares the whole authority, so a port opens a way around a DENY; ours is the host, whatever the port.
    ("a port in Host", {"action": "DENY", "rules": [HERE]}, ["Host: a.test:8080"], 200, False),
    # Envoy is content with one value that matches; an ALLOW of ours wants every one to.
    (
        "an unwanted second value",
        {"action": "ALLOW", "rules": [{"when": [{"key": TENANT, "values": ["seven"]}]}]},
        ["Host: a.test", "x-tenant: seven", "x-tenant: eight"],
        200,
        False,
    ),
    # And a DENY of ours is content with one value that is not among those allowed for.
    (
        "a second value that is not exempt",
        {"action": "DENY", "rules": [{"when": [{"key": TENANT, "notValues": ["seven"]}]}]},
        ["Host: a.test", "x-tenant: seven", "x-tenant: eight"],
        200,
        False,
    ),
    # An app may join the fields of one name, and so see a value that none of them has.
    (
        "a value in two halves",
        {"action": "DENY", "rules": [{"when": [{"key": TENANT, "values": ["seven,eight"]}]}]},
        ["Host: a.test", "x-tenant: seven", "x-tenant: eight"],
        200,
        False,
    ),
    # `*` is "present and not empty" in Istio's API; its translation for Envoy asks for presence alone.
    (
        "an empty value",
        {"action": "ALLOW", "rules": [{"when": [{"key": TENANT, "values": ["*"]}]}]},
        ["Host: a.test", "x-tenant:"],
        200,
        False,
    ),
]


@pytest.mark.slow
def test_where_the_two_differ_on_purpose(mesh):
    ports = [free_port(), free_port()]
    judges = Judges(mesh, [[policy] for _, policy, *_ in ON_PURPOSE], ports)
    try:
        judges.wait()
        for number, (name, _, lines, theirs, ours) in enumerate(ON_PURPOSE):
            octets = "\r\n".join(["GET / HTTP/1.1", *lines, f"x-case: {number}", "", ""]).encode()
            caller = judges.callers[0]
            assert caller.ask(octets) == theirs, name
            assert judges.ours(number, caller, octets)[0] is ours, name
    finally:
        judges.close()
