"""Does everybody accept everybody? The question that a rotation must answer with yes after each of its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshd.identity.certificate import verify_svid
from meshd.identity.credentials import Credentials
from meshd.identity.errors import IdentityError


@dataclass(frozen=True, slots=True)
class Distrust:
    """One side that would refuse the other."""

    who: Path
    refuses: Path
    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.who} refuses {self.refuses}: {self.text} ({self.code})"


def find_distrust(members: Sequence[tuple[Path, Credentials]], now: float) -> tuple[Distrust, ...]:
    """Every pair, in both directions, that could not shake hands now; empty when all can."""
    found = []
    for who, own in members:
        for whom, other in members:
            try:
                verify_svid(other.leaf, other.chain, own.bundle, now)
            except IdentityError as error:
                found.append(Distrust(who, whom, error.code, error.text))
    return tuple(found)
