"""What a validated token (JWT) says: what its issuer vouches for, never the claims of a token that was not verified."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Claim: TypeAlias = "str | int | float | bool | list[Claim] | dict[str, Claim] | None"


@dataclass(frozen=True, slots=True)
class Token:
    """The claims of a token whose signature, issuer, audience and times were found good."""

    issuer: str
    subject: str  # empty when there is none
    claims: Mapping[str, Claim]
    payload: bytes  # as it came, base64url
    expires: float = float("inf")  # seconds of the wall clock, tolerance included
    starts: float = float("-inf")
    lists: tuple[str, ...] = ()  # claims whose strings are lists, split at spaces

    def values(self, *path: str) -> list[str]:
        """The strings of a claim, nested ones by each name of the path: one, those of a list, or none at all."""
        found: Claim = dict(self.claims)
        for name in path:
            if not isinstance(found, dict) or name not in found:
                return []
            found = found[name]
        if isinstance(found, str) and len(path) == 1 and path[0] in self.lists:
            return found.split()
        several = found if isinstance(found, list) else [found]
        return [each for each in several if isinstance(each, str)]
