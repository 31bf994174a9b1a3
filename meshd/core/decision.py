"""What the authorization engine answered, and why."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision. `policy` and `rule` name what decided; for a denial by default, the nearest rule that did not match
    with the first predicate that failed and the value it saw."""

    allowed: bool
    action: str = ""  # ALLOW, DENY, CUSTOM, or "" when nothing matched
    policy: str = ""  # namespace/name
    rule: int = -1
    nearest: str = ""  # namespace/name rule N
    failed: str = ""  # the predicate, such as `methods: ["GET"]`
    observed: str = ""  # what it saw, such as `POST`


ALLOWED_BY_DEFAULT = Verdict(allowed=True)
