"""Whether a policy takes a request that may be read in several ways."""

from collections.abc import Callable
from dataclasses import dataclass

from meshd.core.head import RequestHead

Predicate = Callable[[RequestHead], bool]


@dataclass(frozen=True, slots=True)
class Matches:
    """What restricts acts where it may take the request: by one value of a repeated field, or one reading of the path.
    What comes after it is passed over only where it must: by all of them."""

    may: Predicate
    must: Predicate
