"""Rule by rule, as the engine took them."""

from support.worlds import allow, inbound, outbound, world_of

from meshd.explain.authorization import authorizers, trace_rules


def traces(question, *texts):
    world = world_of(*texts)
    plan = world.plan(question)
    return trace_rules(plan, question.begin(plan)[1], world.documents)


def methods(*names):
    return {"to": [{"operation": {"methods": list(names)}}]}


def test_without_policies_there_is_nothing_to_tell():
    assert traces(inbound()) == ()
    assert traces(outbound(), allow(methods("GET"))) == ()


def test_the_first_failed_predicate_and_what_it_saw():
    [trace] = traces(inbound("PUT"), allow(methods("GET", "POST")))
    assert (trace.policy, trace.rule, trace.action, trace.matched, trace.decided) == (
        "shop/p",
        0,
        "ALLOW",
        False,
        False,
    )
    assert (trace.failed, trace.observed, trace.place) == ('methods: ["GET", "POST"]', "PUT", "f.yaml:1")


def test_nothing_is_a_value_too():
    header = {"when": [{"key": "request.headers[x-key]", "values": ["1"]}]}
    [trace] = traces(inbound(), allow(header))
    assert trace.observed == "nothing"


def test_deny_comes_before_allow_and_the_first_that_matches_decides():
    found = traces(
        inbound("GET"), allow(methods("PUT"), methods("GET"), {}), allow(methods("DELETE"), action="DENY", name="d")
    )
    assert [(each.action, each.rule, each.matched, each.decided) for each in found] == [
        ("DENY", 0, False, False),
        ("ALLOW", 0, False, False),
        ("ALLOW", 1, True, True),
        ("ALLOW", 2, True, False),
    ]


def test_a_deny_that_matches_decides_over_every_allow():
    found = traces(inbound("GET"), allow({}), allow(methods("GET"), action="DENY", name="d"))
    assert [(each.action, each.matched, each.decided) for each in found] == [
        ("DENY", True, True),
        ("ALLOW", True, False),
    ]


def test_audit_and_dry_run_match_but_decide_nothing():
    dry = allow(methods("GET"), action="DENY", name="dry").replace(
        '"name": "dry"', '"name": "dry", "annotations": {"istio.io/dry-run": "true"}'
    )
    found = traces(inbound("GET"), allow({}, action="AUDIT", name="a"), dry)
    assert [(each.action, each.enforced, each.matched, each.decided) for each in found] == [
        ("AUDIT", False, True, False),
        ("DENY", False, True, False),
    ]


def test_steps_of_other_filters_are_passed_over():
    world = world_of(allow({}))
    chain = world.plan(inbound()).chain
    other = type(chain)((lambda _: None, *chain.on_request))
    assert len(list(authorizers(other))) == 1
