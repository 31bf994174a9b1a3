"""What a validated token (JWT) says: what its issuer vouches for, never the claims of a token that was not verified."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Claim: TypeAlias = "str | int | float | bool | list[Claim] | dict[str, Claim] | None"
LARGEST: Final = 10**20  # of the whole numbers that are written out: 64 bits, as identifiers have them, fit


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
        """What a claim says, as text: one value, those of a list, or none at all."""
        found = claim_at(self.claims, path)
        if isinstance(found, str) and len(path) == 1 and path[0] in self.lists:
            return found.split()
        several = found if isinstance(found, list) else [found]
        return [text for each in several if (text := scalar_text(each)) is not None]


def claim_at(claims: Mapping[str, Claim], path: Sequence[str]) -> Claim:
    """The claim that a path names; None when there is none.

    A name may have dots in it (`kubernetes.io`, or a whole URL), and a dot may stand between a claim and one nested in
    it (`realm.kind`): whole names go before parts of them.
    """
    return next(_found(dict(claims), tuple(path)), None) if path else None


def _found(claim: Claim, path: tuple[str, ...]) -> Iterator[Claim]:
    if not path:
        yield claim
    elif isinstance(claim, dict):
        name, rest = path[0], path[1:]
        if name in claim:
            yield from _found(claim[name], rest)
        end = name.rfind(".")
        while end > 0:
            if name[:end] in claim and name[end + 1 :]:
                yield from _found(claim[name[:end]], (name[end + 1 :], *rest))
            end = name.rfind(".", 0, end)


def scalar_text(claim: Claim) -> str | None:
    """A string, a number or a truth value as policies and fields write it; None for anything else."""
    if isinstance(claim, str):
        return claim
    if isinstance(claim, bool):
        return "true" if claim else "false"
    if isinstance(claim, int):
        return str(claim) if abs(claim) < LARGEST else None  # thousands of digits are no number to compare
    if isinstance(claim, float):
        return str(int(claim)) if claim.is_integer() and abs(claim) < LARGEST else repr(claim)
    return None
