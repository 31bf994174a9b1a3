"""What the demonstration promises, judged by what was seen. Pure."""

from dataclasses import dataclass, field

CANARY_SHARE = 0.1  # as policies/demo/canary.yaml has it
CANARY_LEAST = 200  # reads before the split is judged: none of so many goes to v2 once in a thousand million runs
SIGMAS = 6.5  # a fair split is further off once in ten thousand million runs


@dataclass(slots=True)
class Seen:
    """The outcomes of all requests so far."""

    requests: int = 0
    allowed: int = 0
    identified: int = 0  # of the allowed: the app was told the caller's identity
    denied: int = 0
    denied_attempts: int = 0
    denied_reason: str = ""
    retried: int = 0  # failed once, and succeeded in one request of the caller
    flaky: int = 0
    posts: int = 0
    posts_seen: int = 0  # by the app
    posts_failed: int = 0  # as told to the caller
    versions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expectation:
    """One promise, whether it was kept, and the figures."""

    name: str
    met: bool
    told: str


def enough(seen: Seen) -> bool:
    """Whether there were so many reads that the split can be judged."""
    return sum(seen.versions.values()) >= CANARY_LEAST


def judge(seen: Seen) -> list[Expectation]:
    """Every promise, in the order in which a request meets them."""
    reads = sum(seen.versions.values())
    return [
        Expectation("allowed", seen.allowed == reads > 0, f"{seen.allowed} of {reads} reads answered with 200"),
        Expectation(
            "mutual TLS",
            seen.identified == seen.allowed > 0,
            f"{seen.identified} of {seen.allowed} times the app was told its caller's SPIFFE ID",
        ),
        Expectation(
            "denied",
            seen.denied == seen.denied_attempts > 0,
            f"{seen.denied} of {seen.denied_attempts} DELETEs answered with 403{_because(seen.denied_reason)}",
        ),
        Expectation(
            "retried safely",
            seen.retried == seen.flaky > 0,
            f"{seen.retried} of {seen.flaky} GETs that failed once succeeded at the second attempt, unnoticed",
        ),
        Expectation(
            "not retried",
            seen.posts == seen.posts_seen == seen.posts_failed > 0,
            f"{seen.posts} POSTs that fail reached the app {seen.posts_seen} times",
        ),
        _canary(seen.versions),
    ]


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _canary(versions: dict[str, int]) -> Expectation:
    total, canary = sum(versions.values()), versions.get("v2", 0)
    expected = total * CANARY_SHARE
    spread = SIGMAS * (total * CANARY_SHARE * (1 - CANARY_SHARE)) ** 0.5
    met = total >= CANARY_LEAST and canary > 0 and abs(canary - expected) <= spread
    return Expectation("canary", met, f"{canary} of {total} reads went to v2, {CANARY_SHARE:.0%} wanted")
