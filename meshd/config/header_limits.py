"""How large the head of a message may be: part of the Proxy document."""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field

from meshd.config.model import Fault, Model
from meshd.config.scalars import Size

LEAST: Final = 1024
MOST: Final = 1048576  # beyond it a head is a body
LEAST_LINE: Final = 256


class RequestHeaders(Model):
    """Of requests: octets of the start line and all fields together (431 above), of the start line alone (414 above),
    and how many fields (431 above). At most 1Mi and 1000 fields."""

    size: Size = 61440
    line: Size = 8192
    count: Annotated[int, Field(ge=1, le=1000)] = 100

    def faults(self) -> Iterator[Fault]:
        """Within bounds, and a line is part of the head."""
        yield from _bounds(self.size)
        if not LEAST_LINE <= self.line <= self.size:
            yield Fault(("line",), f"expected from {LEAST_LINE} octets to the size of the head, {self.size}")


class ResponseHeaders(Model):
    """Of responses: octets of the status line and all fields together, and how many fields; 502 above. At most 1Mi and
    1000 fields."""

    size: Size = 81920
    count: Annotated[int, Field(ge=1, le=1000)] = 100

    def faults(self) -> Iterator[Fault]:
        """Within bounds."""
        yield from _bounds(self.size)


def _bounds(size: int) -> Iterator[Fault]:
    if not LEAST <= size <= MOST:
        yield Fault(("size",), f"expected from {LEAST} octets (1Ki) to {MOST} (1Mi)")
