"""A case of a PolicyTest against the engine's answer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from meshd.config.errors import Path
from meshd.config.policy_test import Case, Expect, Given, Sidecar
from meshd.config.proxy import Proxy
from meshd.explain.question import Question, caller_named
from meshd.explain.retry import would_retry
from meshd.explain.world import Answer, World


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One expectation that was not met. `at` is its path below the case."""

    at: Path
    expected: str
    found: str


def proxy_of(sidecar: Sidecar) -> Proxy:
    """The bootstrap that such a sidecar would have: a listener either way, and certificates that nobody opens."""
    return Proxy.model_validate(
        {
            "apiVersion": "meshd.dev/v1alpha1",
            "kind": "Proxy",
            "metadata": {"name": sidecar.name, "namespace": sidecar.namespace, "labels": sidecar.labels},
            "spec": {
                "identity": {"trustDomain": sidecar.trust_domain, "certificates": "none"},
                "inbound": [{"listen": "127.0.0.1:0", "app": f"127.0.0.1:{sidecar.port}"}],
                "outbound": [{"listen": "127.0.0.1:0"}],
            },
        }
    )


def question_for(given: Given, world: World) -> Question:
    """The request that a case gives. Raises Unaskable, InvalidSpiffeId."""
    proxy = world.proxy
    question = Question(
        method=given.method,
        target=given.path,
        authority=given.to or f"{proxy.name}.{proxy.namespace}",
        caller=caller_named(given.from_, world.trust_domain, proxy.namespace),
        headers=tuple(given.headers.items()),
        inbound=given.is_inbound,
        draw=given.draw,
        times=given.times,
        authorizer=given.authorizer,
    )
    question.check()
    return question


def judge(case: Case, world: World) -> list[Mismatch]:
    """Every expectation that was not met. Raises Unaskable, InvalidSpiffeId."""
    question = question_for(case.given, world)
    answer = world.ask(question)
    found: list[Mismatch] = []
    for name in Expect.model_fields:
        expected = getattr(case.expect, name)
        if expected is None:
            continue
        if name == "retried":
            found += _retried(case, world, question, answer)
        elif name == "split":
            found += _split(case.expect, answer)
        else:
            actual = ACTUAL[name](answer)
            if not _same(name, expected, actual):
                found.append(Mismatch(("expect", name), _shown(expected), f"{_shown(actual)} ({_told(answer)})"))
    return found


def _verdict(answer: Answer) -> str:
    return "allow" if answer.allowed else "deny"


def _policy(answer: Answer) -> str:
    return answer.verdict.policy if answer.verdict is not None else ""


def _rule(answer: Answer) -> int | None:
    return answer.verdict.rule if answer.verdict is not None and answer.verdict.rule >= 0 else None


def _backend(answer: Answer) -> str:
    return ", ".join(cluster for cluster, percent in answer.split if percent)


ACTUAL: Final[Mapping[str, Callable[[Answer], str | int | float | None]]] = {
    "verdict": _verdict,
    "outcome": lambda answer: answer.kind,
    "status": lambda answer: answer.status or None,
    "policy": _policy,
    "rule": _rule,
    "route": lambda answer: answer.route.name if answer.route is not None else "",
    "backend": _backend,
    "location": lambda answer: answer.location,
    "forwarded": lambda answer: answer.forwarded,
    "delay": lambda answer: answer.delay,
}


def _same(name: str, expected: object, actual: object) -> bool:
    """Names may be given by their end (`canary/0`), backends without namespace and port."""
    if expected == actual:
        return True
    if not isinstance(expected, str) or not isinstance(actual, str):
        return False
    if name == "backend":
        return _is_cluster(expected, actual)
    return name in ("policy", "route") and actual.endswith("/" + expected)


def _is_cluster(name: str, cluster: str) -> bool:
    short = cluster.rpartition("/")[2]
    return name in (cluster, short, short.rpartition(":")[0], cluster.rpartition(":")[0])


def _split(expect: Expect, answer: Answer) -> Iterator[Mismatch]:
    wanted = dict(expect.split or {})
    actual = ", ".join(f"{cluster or 'no such backend'} {percent:g} %" for cluster, percent in answer.split)
    for cluster, percent in answer.split:
        name = next((each for each in wanted if _is_cluster(each, cluster)), None)
        expected = wanted.pop(name) if name is not None else 0.0
        if abs(expected - percent) > 0.01:
            at: Path = ("expect", "split") if name is None else ("expect", "split", name)
            told = f"{expected:g} % to {name or cluster or 'a backend that does not exist'}"
            yield Mismatch(at, told, actual or "no split")
    for name, percent in wanted.items():
        if percent:
            yield Mismatch(("expect", "split", name), f"{percent:g} % to {name}", actual or "no split")


def _retried(case: Case, world: World, question: Question, answer: Answer) -> Iterator[Mismatch]:
    decision = would_retry(world, question, answer, case.given.failure or "")
    retried = decision is not None and decision.retry
    if retried != case.expect.retried:
        why = decision.reason if decision is not None else f"nothing was sent: {_told(answer)}"
        yield Mismatch(("expect", "retried"), _shown(case.expect.retried), f"{_shown(retried)} ({why})")


def _told(answer: Answer) -> str:
    if answer.kind == "forwarded":
        return f"forwarded by {answer.route.name if answer.route is not None else 'nothing'}"
    return f"{answer.kind}: {answer.details}"


def _shown(value: object) -> str:
    if value is None or value == "":
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)
