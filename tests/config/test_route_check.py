"""Routes against the rest of the documents."""

import pytest
from support.documents import text_of

from meshd.config.cross_check import cross_check
from meshd.config.load import load_policies
from meshd.config.route_check import check_routes

ECHO = text_of("Service", "v1", "ports: [{name: http, port: 80}]").replace("name: name", "name: echo")
GROUP = "gateway.networking.k8s.io"
PARENT = "parentRefs: [{group: '', kind: Service, name: echo}]\n"
SEND = "backendRefs: [{name: echo, port: 80}]"


def route(rules, parent=PARENT, kind="HTTPRoute", name="name"):
    return text_of(kind, f"{GROUP}/v1", f"{parent}rules:\n{rules}").replace("name: name", f"name: {name}")


def warnings(tmp_path, *texts):
    file = tmp_path / "a.yaml"
    file.write_text("---\n".join([ECHO, *texts]))
    found = cross_check(load_policies([file]))
    assert all(problem.severity == "warning" and problem.line for problem in found)
    return [(problem.field, problem.message) for problem in found]


def test_a_route_that_is_fine(tmp_path):
    assert warnings(tmp_path, route(f"- {SEND}")) == []


def test_a_header_that_a_match_names_twice(tmp_path):
    headers = "[{name: version, value: one}, {name: Version, value: two}]"
    [(field, message)] = warnings(tmp_path, route(f"- matches: [{{headers: {headers}}}]\n  {SEND}"))
    assert field == "spec.rules[0].matches[0].headers[1].name"
    assert "only the first is considered" in message


CALLS = "- backendRefs: [{name: echo, port: 80}]"


@pytest.mark.parametrize(("port", "warned"), [("", True), (", port: 80", True), (", port: 81", False)])
def test_an_http_route_where_a_grpc_route_is(tmp_path, port, warned):
    parent = f"parentRefs: [{{group: '', kind: Service, name: echo{port}}}]\n"
    at_80 = "parentRefs: [{group: '', kind: Service, name: echo, port: 80}]\n"
    found = warnings(tmp_path, route(f"- {SEND}", parent), route(CALLS, at_80, "GRPCRoute", "calls"))
    said = [field for field, message in found if "only the GRPCRoute acts" in message]
    assert said == (["spec.parentRefs[0]"] if warned else [])


@pytest.mark.parametrize(
    ("parent", "field", "said"),
    [
        ("", "spec", "attaches to nothing"),
        ("parentRefs: [{name: gate}]\n", "spec.parentRefs[0]", "of kind Gateway the route does not act"),
        ("parentRefs: [{group: '', kind: Service, name: ehco}]\n", "spec.parentRefs[0].name", "did you mean 'echo'?"),
        (
            "parentRefs: [{group: '', kind: Service, name: echo, port: 81}]\n",
            "spec.parentRefs[0].port",
            "its ports are 80",
        ),
        (
            "parentRefs: [{group: '', kind: Service, name: echo, sectionName: x}]\n",
            "spec.parentRefs[0].sectionName",
            "http",
        ),
        (PARENT + "hostnames: [a.b]\n", "spec.hostnames", "not looked at"),
    ],
)
def test_parents(tmp_path, parent, field, said):
    [(found, message)] = warnings(tmp_path, route(f"- {SEND}", parent))
    assert found == field
    assert said in message


@pytest.mark.parametrize(
    ("rule", "field", "said"),
    [
        ("backendRefs: [{name: ehco, port: 80}]", "backendRefs[0].name", "did you mean 'echo'?"),
        ("backendRefs: [{name: echo, port: 81}]", "backendRefs[0].port", "answered with 500"),
        ("backendRefs: [{name: echo, namespace: x, port: 80}]", "backendRefs[0].name", "in namespace 'ns'"),
        ("matches: [{path: {value: /a}}]", "", "no backendRefs"),
        (
            SEND + "\n  filters: [{type: RequestMirror, requestMirror: {backendRef: {name: x, port: 1}}}]",
            "filters[0].requestMirror.backendRef.name",
            "no Service ns/x",
        ),
    ],
)
def test_backends(tmp_path, rule, field, said):
    [(found, message)] = warnings(tmp_path, route(f"- {rule}"))
    assert found == f"spec.rules[0].{field}".rstrip(".")
    assert said in message


def test_calls_and_connections_are_checked_alike(tmp_path):
    l4 = "---\n".join(
        [
            text_of("TCPRoute", f"{GROUP}/v1alpha2", PARENT + f"rules: [{{{SEND}}}, {{{SEND}}}]"),
            text_of(
                "TLSRoute", f"{GROUP}/v1", PARENT + "hostnames: [a.b]\nrules: [{backendRefs: [{name: x, port: 1}]}]"
            ),
        ]
    )
    found = [field for field, _ in warnings(tmp_path, route("- {}", kind="GRPCRoute"), l4)]
    assert found == ["spec.rules[0]", "spec.rules[1]", "spec.rules[0].backendRefs[0].name"]


def match(*conditions):
    return "".join(f"- {SEND}\n  matches: [{each}]\n" for each in conditions)


@pytest.mark.parametrize(
    ("conditions", "shadowed"),
    [
        (("{}", "{}"), ["spec.rules[1].matches[0]"]),
        (("{path: {value: /a}}", "{path: {value: /a/}}"), ["spec.rules[1].matches[0]"]),
        (("{path: {value: /a, type: Exact}}", "{path: {value: /a}}"), []),
        (("{method: GET}", "{method: PUT}"), []),
        (("{headers: [{name: A, value: b}]}", "{headers: [{name: a, value: b}]}"), ["spec.rules[1].matches[0]"]),
        (("{headers: [{name: a, value: b}]}", "{headers: [{name: a, value: B}]}"), []),
        (("{queryParams: [{name: a, value: b}]}", "{queryParams: [{name: A, value: b}]}"), []),
        (("{method: GET}", "{method: PUT}, {method: GET}"), ["spec.rules[1].matches[1]"]),
    ],
)
def test_a_match_that_an_earlier_one_takes(tmp_path, conditions, shadowed):
    assert [field for field, _ in warnings(tmp_path, route(match(*conditions)))] == shadowed


def test_another_route_of_the_same_parent_takes_matches_too(tmp_path):
    [(field, message)] = warnings(tmp_path, route(match("{}"), name="b"), route(match("{}"), name="a"))
    assert field == "spec.rules[0].matches[0]"
    assert "HTTPRoute ns/a spec.rules[0].matches[0] matches the same requests first" in message


def test_one_parent_left_is_of_use(tmp_path):
    both = "parentRefs: [{group: '', kind: Service, name: echo}, {group: '', kind: Service, name: more}]\n"
    more = ECHO.replace("name: echo", "name: more")
    assert warnings(tmp_path, more, route(match("{}"), name="a"), route(match("{}"), both, name="b")) == []


def test_nothing_to_check_is_no_problem(tmp_path):
    from meshd.config.destinations import Destinations
    from meshd.config.documents import Documents

    assert [*check_routes(Documents(), Destinations.of(Documents()))] == []
