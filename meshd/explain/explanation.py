"""Everything there is to say about one request: what becomes of it, by which rules and routes, and what would change
it."""

from dataclasses import dataclass, replace
from typing import Final

from meshd.explain.authorization import RuleTrace, trace_rules
from meshd.explain.chance import turns
from meshd.explain.changes import Change, smallest_changes
from meshd.explain.question import Question, Said
from meshd.explain.routes import RouteTrace, nearest_authority, trace_routes
from meshd.explain.world import Answer, World
from meshd.snapshot import Plan
from meshd.telemetry.describe import Json

SAID: Final[tuple[Said, ...]] = ("allow", "deny", "fail")


@dataclass(frozen=True, slots=True)
class Explanation:
    """One question and its answer, with the reasons."""

    question: Question
    listener: str
    mode: str  # of mutual TLS; empty outbound
    answer: Answer
    rules: tuple[RuleTrace, ...]
    routes: tuple[RouteTrace, ...]
    hint: str  # the service that may be meant, when nobody knows the one that was named
    chances: tuple[tuple[float, Answer], ...]  # what is drawn up to each number, of 100; one where nothing is drawn
    changes: tuple[Change, ...]
    outside: tuple[tuple[Said, Answer], ...] = ()  # by what an authorizer outside says, where one is asked

    def as_json(self) -> dict[str, Json]:
        """Plain data."""
        answer, question = self.answer, self.question
        return {
            "request": {
                "direction": "inbound" if question.inbound else "outbound",
                "listener": self.listener,
                "from": question.caller or None,
                "method": question.method,
                "authority": question.authority or None,
                "path": question.target,
                "headers": [[name, value] for name, value in question.headers],
            },
            "mtls": self.mode or None,
            "outcome": answer_json(answer),
            "authorization": [_rule(rule) for rule in self.rules],
            "routes": [_route(route) for route in self.routes],
            "hint": self.hint or None,
            "chances": [{"up_to": share, "outcome": answer_json(each)} for share, each in self.chances],
            "authorizers": [{"say": said, "outcome": answer_json(each)} for said, each in self.outside],
            "changes": [
                {"of": each.of, "change": each.text, "outcome": answer_json(each.answer)} for each in self.changes
            ],
        }


def explain(world: World, question: Question) -> Explanation:
    """Ask the engine, then look at everything it looked at. Raises Unaskable, InvalidSpiffeId."""
    question.check()
    plan = world.plan(question)
    answer = world.ask(question)
    rules: tuple[RuleTrace, ...] = ()
    routes: tuple[RouteTrace, ...] = ()
    hint = ""
    if answer.kind not in ("refused", "malformed", "tunnel"):
        _, exchange = question.begin(plan)
        rules = trace_rules(plan, exchange, world.documents, answer.verdict)
        table = plan.table(exchange.head.authority)
        if not question.inbound and table is not None:
            routes = trace_routes(table, exchange.head, world.documents)
        elif table is None:
            near = nearest_authority(plan, question.authority)
            hint = f"did you mean {near!r}?" if near else ""
    changes = smallest_changes(world, question, answer)
    outside: tuple[tuple[Said, Answer], ...] = ()
    if answer.asks and not question.authorizer:
        outside = tuple((said, world.ask(replace(question, authorizer=said))) for said in SAID)
    chances = turns(lambda draw: world.ask(replace(question, draw=draw)), lambda drawn: drawn.outcome)
    return Explanation(question, plan.name, _mode(plan), answer, rules, routes, hint, tuple(chances), changes, outside)


def _mode(plan: Plan) -> str:
    return plan.mode.name if plan.inbound else ""


def answer_json(answer: Answer) -> dict[str, Json]:
    """The answer as plain data."""
    verdict = answer.verdict
    return {
        "kind": answer.kind,
        "allowed": answer.allowed,
        "status": answer.status or None,
        "details": answer.details or None,
        "policy": verdict.policy or None if verdict is not None else None,
        "rule": verdict.rule if verdict is not None and verdict.rule >= 0 else None,
        "route": answer.route.name if answer.route is not None else None,
        "split": {cluster: round(percent, 3) for cluster, percent in answer.split},
        "location": answer.location or None,
        "delay_s": answer.delay or None,
        "forwarded": answer.forwarded or None,
        "asks": [*answer.asks],
        "authorizers_say": answer.said or None,
    }


def _rule(trace: RuleTrace) -> dict[str, Json]:
    return {
        "policy": trace.policy,
        "rule": trace.rule,
        "action": trace.action,
        "enforced": trace.enforced,
        "matched": trace.matched,
        "decided": trace.decided,
        "failed": trace.failed or None,
        "observed": trace.observed or None,
        "place": trace.place or None,
    }


def _route(trace: RouteTrace) -> dict[str, Json]:
    return {
        "route": trace.route,
        "match": trace.match,
        "chosen": trace.chosen,
        "failed": trace.failed or None,
        "observed": trace.observed or None,
        "place": trace.place or None,
    }
