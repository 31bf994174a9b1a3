"""Mistakes people make, each with the line, the field and the remedy that they are told.

In each text the mark `#!` stands in the line that must be named.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import document, problems_of, text_of

from meshd.config.documents import KINDS
from meshd.config.examine import annotation_at, look
from meshd.config.http_route import HTTPRoute, PathMatch
from meshd.config.yaml_file import MAX_PROBLEMS, parse

GATEWAY = "gateway.networking.k8s.io/v1"
ISTIO = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"
OURS = "meshd.dev/v1alpha1"

PARENT = "parentRefs: [{group: '', kind: Service, name: echo}]\n"


def http(rule: str) -> str:
    indented = "".join(f"  {line}\n" for line in rule.strip("\n").splitlines())
    return text_of("HTTPRoute", GATEWAY, f"{PARENT}rules:\n-{indented[1:]}")


def authz(spec: str) -> str:
    return text_of("AuthorizationPolicy", SECURITY, spec)


def rule(spec: str) -> str:
    return text_of("DestinationRule", ISTIO, f"host: echo\n{spec}")


def backend(spec: str) -> str:
    return text_of("BackendPolicy", OURS, f"targetRefs: [{{name: echo}}]\n{spec}")


def proxy(spec: str) -> str:
    return text_of("Proxy", OURS, f"identity: {{certificates: certs}}\n{spec}")


MISTAKES = {
    # the document itself
    "kind misspelt": ("apiVersion: v1\nkind: Sevice #!\nmetadata: {name: a}", "kind", "did you mean 'Service'?"),
    "kind in lower case": ("apiVersion: v1\nkind: service #!\nmetadata: {name: a}", "kind", "did you mean 'Service'?"),
    "no kind": ("apiVersion: v1 #!\nmetadata: {name: a}", "kind", "required"),
    "no version": ("kind: Service #!\nmetadata: {name: a}", "apiVersion", "required"),
    "wrong version": ("apiVersion: gateway.networking.k8s.io/v2 #!\nkind: HTTPRoute", "apiVersion", "k8s.io/v1'"),
    "not a mapping": ("- a #!", "", "expected a document"),
    "no name": (
        "apiVersion: v1\nkind: Service\nmetadata: {namespace: a} #!\nspec: {ports: [{port: 80}]}",
        "metadata.name",
        "required, but missing",
    ),
    "name of a number": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: 7} #!\nspec: {ports: [{port: 80}]}",
        "metadata.name",
        'put it in quotes: "7"',
    ),
    "name in upper case": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: Echo} #!\nspec: {ports: [{port: 80}]}",
        "metadata.name",
        "lower case",
    ),
    "label that is a number": (
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels:\n    version: 2 #!\nspec: {}",
        "metadata.labels.version",
        'put it in quotes: "2"',
    ),
    "spec beside metadata": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nports: [] #!\nspec: {ports: [{port: 80}]}",
        "ports",
        "unknown field 'ports'",
    ),
    "key given twice": ("apiVersion: v1\nkind: Service\nkind: Service #!", "kind", "first in line 2"),
    "tab in indentation": ("a:\n\tb: c #!", "a", "not YAML"),
    "list never closed": ("a: [1 #!\n\n", "a[1]", "not YAML"),
    "anchor not there": ("a: *b #!", "a", "names no finished anchor"),
    # HTTPRoute
    "field misspelt": (http("backendRef: [] #!"), "spec.rules[0].backendRef", "did you mean 'backendRefs'?"),
    "snake case": (http("backend_refs: [] #!"), "spec.rules[0].backend_refs", "did you mean 'backendRefs'?"),
    "port as a string": (
        http("backendRefs:\n- name: a\n  port: '80' #!"),
        "spec.rules[0].backendRefs[0].port",
        "remove the quotes: 80",
    ),
    "port too high": (
        http("backendRefs:\n- name: a\n  port: 65536 #!"),
        "spec.rules[0].backendRefs[0].port",
        "at most 65535",
    ),
    "backend without port": (
        http("backendRefs:\n- name: a\n- {name: b, port: 1}").replace("name: a", "name: a #!"),
        "spec.rules[0].backendRefs[0].port",
        "a Service is reached at one of its ports",
    ),
    "match type misspelt": (
        http("matches:\n- path:\n    type: Prefix #!\n    value: /"),
        "spec.rules[0].matches[0].path.type",
        "did you mean 'PathPrefix'?",
    ),
    "path not absolute": (
        http("matches:\n- path:\n    value: api #!"),
        "spec.rules[0].matches[0].path.value",
        "did you mean '/api'?",
    ),
    "path with two slashes": (
        http("matches:\n- path: {value: /a//b} #!"),
        "spec.rules[0].matches[0].path.value",
        "'//'",
    ),
    "path with escaped slash": (
        http("matches:\n- path: {value: /a%2Fb} #!"),
        "spec.rules[0].matches[0].path.value",
        "%2F",
    ),
    "path with dots": (http("matches:\n- path: {value: /a/..} #!"), "spec.rules[0].matches[0].path.value", "end with"),
    "regular expression that is none": (
        http("matches:\n- path: {type: RegularExpression, value: '/(a'} #!"),
        "spec.rules[0].matches[0].path.value",
        "missing )",
    ),
    "regular expression of another dialect": (
        http("matches:\n- path: {type: RegularExpression, value: '/(?!a).*'} #!"),
        "spec.rules[0].matches[0].path.value",
        "RE2 has no lookahead",
    ),
    "matches not a list": (http("matches:\n  path: {value: /} #!"), "spec.rules[0].matches", "write '- ' before"),
    "method in lower case": (
        http("matches: [{method: get}] #!"),
        "spec.rules[0].matches[0].method",
        "did you mean 'GET'?",
    ),
    "header name with a colon": (
        http("matches: [{headers: [{name: ':path', value: a}]}] #!"),
        "spec.rules[0].matches[0].headers[0].name",
        "a header name",
    ),
    "header value with a line break": (
        http(
            "filters:\n- type: RequestHeaderModifier\n"
            '  requestHeaderModifier: {set: [{name: a, value: "b\\r\\nc: d"}]} #!'
        ),
        "spec.rules[0].filters[0].requestHeaderModifier.set[0].value",
        "visible characters",
    ),
    "same header matched twice": (
        http("matches: [{headers: [{name: a, value: b}, {name: a, value: c}]}] #!"),
        "spec.rules[0].matches[0].headers[1].name",
        "entry 0 has it already",
    ),
    "filter without its field": (
        http("filters:\n- type: RequestRedirect #!"),
        "spec.rules[0].filters[0].requestRedirect",
        "required when type is 'RequestRedirect'",
    ),
    "filter with another's field": (
        http("filters:\n- type: URLRewrite\n  urlRewrite: {hostname: a}\n  requestRedirect: {} #!"),
        "spec.rules[0].filters[0].requestRedirect",
        "remove 'requestRedirect'",
    ),
    "redirect and backends": (
        http("filters: [{type: RequestRedirect, requestRedirect: {}}]\nbackendRefs: [{name: a, port: 1}] #!"),
        "spec.rules[0].backendRefs",
        "remove 'backendRefs'",
    ),
    "filter of an extension": (
        http("filters:\n- type: ExtensionRef\n  extensionRef: {group: a, kind: B, name: c} #!"),
        "spec.rules[0].filters[0].extensionRef",
        "is not supported",
    ),
    "prefix replaced where none matched": (
        http(
            "matches: [{path: {type: Exact, value: /a}}]\nfilters:\n- type: URLRewrite\n"
            "  urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}} #!"
        ),
        "spec.rules[0].filters[0].urlRewrite.path.type",
        "exactly one match, of type PathPrefix",
    ),
    "duration as a number": (http("timeouts: {request: 10} #!"), "spec.rules[0].timeouts.request", "such as '10s'"),
    "duration with a fraction": (
        http("timeouts: {request: 1.5s} #!"),
        "spec.rules[0].timeouts.request",
        "whole numbers",
    ),
    "attempt longer than all": (
        http("timeouts:\n  request: 1s\n  backendRequest: 2s #!"),
        "spec.rules[0].timeouts.backendRequest",
        "no longer than that of 'request'",
    ),
    "null": (http("timeouts: null #!"), "spec.rules[0].timeouts", "remove the key"),
    # AuthorizationPolicy
    "action misspelt": (authz("action: Allow #!\nrules: [{}]"), "spec.action", "did you mean 'ALLOW'?"),
    "source not in a list": (authz("rules:\n- from:\n    source: {} #!"), "spec.rules[0].from", "expected a list"),
    "principal not in a list": (
        authz("rules:\n- from:\n  - source:\n      principals: a #!"),
        "spec.rules[0].from[0].source.principals",
        "write '- ' before",
    ),
    "port as a number": (
        authz("rules:\n- to:\n  - operation:\n      ports: [80] #!"),
        "spec.rules[0].to[0].operation.ports[0]",
        'put it in quotes: "80"',
    ),
    "block that is none": (
        authz("rules:\n- from:\n  - source:\n      ipBlocks: [10.0.0.0/33] #!"),
        "spec.rules[0].from[0].source.ipBlocks[0]",
        "CIDR block",
    ),
    "attribute that is none": (
        authz("rules:\n- when:\n  - key: source.namspace #!\n    values: [a]"),
        "spec.rules[0].when[0].key",
        "did you mean 'source.namespace'?",
    ),
    "template with text beside": (
        authz("rules:\n- to:\n  - operation:\n      paths: ['/a{*}'] #!"),
        "spec.rules[0].to[0].operation.paths[0]",
        "whole segment",
    ),
    "denial of nothing": (authz("action: DENY #!"), "spec.rules", "'- {}'"),
    "selector and target": (
        authz("selector: {}\ntargetRefs: [{kind: Service, name: a}] #!\nrules: [{}]"),
        "spec.targetRefs",
        "only one of",
    ),
    # PeerAuthentication, RequestAuthentication
    "mode misspelt": (
        text_of("PeerAuthentication", SECURITY, "mtls: {mode: STRCIT} #!"),
        "spec.mtls.mode",
        "did you mean 'STRICT'?",
    ),
    "ports of no workload": (
        text_of("PeerAuthentication", SECURITY, "portLevelMtls: #!\n  8080: {mode: DISABLE}")
        .replace(": #!\n", ":\n")
        .replace("DISABLE}", "DISABLE} #!"),
        "spec.portLevelMtls",
        "needs a selector",
    ),
    "keys twice": (
        text_of(
            "RequestAuthentication",
            SECURITY,
            "jwtRules:\n- issuer: a\n  jwks: '{\"keys\": []}'\n  jwksUri: http://a #!",
        ),
        "spec.jwtRules[0].jwksUri",
        "only one of jwks, jwksUri",
    ),
    # DestinationRule, ServiceEntry, Service
    "two balancers": (
        rule("trafficPolicy:\n  loadBalancer:\n    simple: RANDOM\n    consistentHash: {useSourceIp: true} #!"),
        "spec.trafficPolicy.loadBalancer.consistentHash",
        "only one of simple",
    ),
    "verification off": (
        rule("trafficPolicy:\n  tls: {mode: SIMPLE, insecureSkipVerify: true} #!"),
        "spec.trafficPolicy.tls.insecureSkipVerify",
        "always verified",
    ),
    "subset twice": (rule("subsets: [{name: a}, {name: a}] #!"), "spec.subsets[1].name", "entry 0 has it already"),
    "static entry by name": (
        text_of("ServiceEntry", ISTIO, "hosts: [a.b]\nresolution: STATIC\nendpoints:\n- address: c.d #!"),
        "spec.endpoints[0].address",
        "use 'DNS'",
    ),
    "several ports without names": (
        text_of("Service", "v1", "ports:\n- port: 1 #!\n- {port: 2, name: b}"),
        "spec.ports[0].name",
        "required when there are several ports",
    ),
    # our own kinds
    "size that is none": (backend("retry: {bufferLimit: 64KB} #!"), "spec.retry.bufferLimit", "'64Ki'"),
    "retry condition misspelt": (
        backend("retry: {on: [connection-failure]} #!"),
        "spec.retry.on[0]",
        "did you mean 'connect-failure'?",
    ),
    "percent over all": (backend("retry: {budget: {percent: 120}} #!"), "spec.retry.budget.percent", "at most 100"),
    "two ways to ask": (
        backend("healthCheck: {http: {}, tcp: {}} #!"),
        "spec.healthCheck.tcp",
        "one of http, grpc, tcp",
    ),
    "early data without sessions": (
        backend("tls: {resumption: false, earlyData: true} #!"),
        "spec.tls.earlyData",
        "set 'resumption' to true",
    ),
    "truth of YAML 1.1": (backend("socket: {noDelay: yes} #!"), "spec.socket.noDelay", "did you mean true?"),
    "limit for an unknown key": (
        text_of("RateLimitPolicy", OURS, "rules: [{requests: 1, key: ip}] #!"),
        "spec.rules[0].key",
        "'none', 'identity' or 'header:NAME'",
    ),
    "fault that does nothing": (
        text_of("FaultPolicy", OURS, "rules:\n- name: a #!"),
        "spec.rules[0]",
        "delay, abort or both",
    ),
    "abort with two statuses": (
        text_of("FaultPolicy", OURS, "rules: [{abort: {status: 503, grpcStatus: 14}}] #!"),
        "spec.rules[0].abort.grpcStatus",
        "only one of status, grpcStatus",
    ),
    "listener without port": (
        proxy("inbound: [{listen: 0.0.0.0, app: '127.0.0.1:1'}] #!"),
        "spec.inbound[0].listen",
        "expected host:port",
    ),
    "app at port 0": (proxy("inbound: [{listen: 'a:1', app: 'b:0'}] #!"), "spec.inbound[0].app", "from 1 to 65535"),
    "protocol misspelt": (
        proxy("inbound: [{listen: 'a:1', app: 'b:1', protocol: http/2}] #!"),
        "spec.inbound[0].protocol",
        "did you mean 'http2'?",
    ),
    "address taken": (
        proxy("inbound: [{listen: 'a:1', app: 'b:1'}]\noutbound: [{listen: 'a:1'}] #!"),
        "spec.outbound[0].listen",
        "inbound[0] listens on a:1",
    ),
    "nothing to listen on": (
        proxy("drain: 1s").replace("certs}", "certs} #!"),
        "spec.inbound",
        "at least one",
    ),
    "no workers": (proxy("workers: 0 #!\noutbound: [{listen: 'a:1'}]"), "spec.workers", "from 1 to 256"),
    "sampling in percent": (
        proxy("telemetry: {sampling: 10} #!\noutbound: [{listen: 'a:1'}]"),
        "spec.telemetry.sampling",
        "at most 1",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_told_with_line_field_and_remedy(mistake):
    text, field, remedy = MISTAKES[mistake]
    [line] = [place for place, each in enumerate(text.splitlines(), 1) if "#!" in each]
    problems = problems_of(text)
    first = problems[0]
    assert (first.line, first.field) == (line, field), list(map(str, problems))
    assert remedy in first.message
    assert str(first).startswith(f"f.yaml:{line}:")


def test_there_are_more_than_fifty():
    assert len(MISTAKES) > 50


def test_every_mistake_of_a_document_is_told():
    text = http("matches: [{method: get}]\ntimeouts: {request: 1}\nbackendRefs:\n- {name: a, prot: 80, port: 1}")
    assert [problem.field.rpartition(".")[2] for problem in problems_of(text)] == ["method", "request", "prot"]


def test_faults_between_fields_are_told_together():
    text = http("filters: [{type: CORS}]\nbackendRefs: [{name: a}]\nmatches: [{path: {value: a//b}}]")
    assert len(problems_of(text)) == 4


def test_problems_of_one_document_are_bounded():
    backends = ", ".join("{name: 1}" for _ in range(16))
    rules = "".join(f"- backendRefs: [{backends}]\n" for _ in range(16))
    assert len(problems_of(text_of("HTTPRoute", GATEWAY, f"rules:\n{rules}"))) == MAX_PROBLEMS


@given(st.data())
@pytest.mark.slow
def test_an_unknown_key_is_refused_and_its_place_named(data):
    text = http(
        "matches:\n- path:\n    value: /a\n  headers:\n  - name: a\n    value: b\nbackendRefs:\n- name: a\n  port: 1"
    )
    lines = text.splitlines()
    keyed = [place for place, line in enumerate(lines) if ":" in line and "{" not in line]
    place = data.draw(st.sampled_from(keyed))
    name = data.draw(st.from_regex(r"\A[a-z]{1,12}Unknown\Z"))
    indent = len(lines[place]) - len(lines[place].lstrip(" -"))
    changed = [
        *lines[:place],
        lines[place][:indent] + f"{name}: 1",
        " " * indent + lines[place][indent:],
        *lines[place + 1 :],
    ]
    joined = "\n".join(changed)
    assert not parse(joined.encode(), "f.yaml")[1]
    found = [problem for problem in problems_of(joined) if problem.rule == "unknown"]
    assert [(problem.line, problem.column) for problem in found] == [(place + 1, indent + 1)]
    assert found[0].field.endswith(name)


def test_look_and_annotation_at_follow_documents():
    assert look({"a": (1, {"b": None})}, ("a", 1, "b")) == (True, None)
    assert look({"a": (1,)}, ("a", 1)) == (False, None)
    assert annotation_at(HTTPRoute, ("spec", "rules", 0, "matches", 3, "path")) is PathMatch
    assert annotation_at(HTTPRoute, ("spec", "nothing", 0)) is None


def test_every_kind_reads_its_own_dump():
    text = http("matches: [{path: {value: /a}}]\ntimeouts: {request: 1m30s}\nbackendRefs: [{name: a, port: 1}]")
    model = document(text).model
    dumped = model.model_dump(by_alias=True, exclude_unset=True)
    assert dumped["spec"]["rules"][0]["timeouts"]["request"] == "1m30s"
    assert KINDS["HTTPRoute"][GATEWAY].model_validate(dumped) == model
