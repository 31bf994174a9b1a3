"""How much of a head anybody may send us."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Octets and counts."""

    head: int = 61440  # start line and fields together; 431 above (an upstream's: 502)
    line: int = 8192  # the start line; 414 above. RFC 9112 section 3 asks for 8000 at least
    fields: int = 100  # 431 above


REQUEST_LIMITS = Limits()
RESPONSE_LIMITS = Limits(head=81920)
