"""What failing dials teach: when to dial again for the warm floor, and when to turn requests away without trying.

Pure: time is an argument. One round of failures, dials that were under way together, counts once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from meshd.core import flags, proxy_errors
from meshd.core.errors import Resend, UpstreamError

REFILL_PAUSE: Final = 0.1  # seconds after a failed dial, doubling
REFILL_PAUSE_MAX: Final = 5.0
ROUNDS_BEFORE_HOLD: Final = 2  # one lost SYN holds nobody
HOLD_MAX: Final = 3.0  # seconds
HOLD_LEAST: Final = 0.05  # below it a failed dial costs less than a wrong answer
DOUBLINGS_MAX: Final = 10
OF_TLS_LEAST: Final = 0.5  # seconds: who is refused will be again, however quickly
# What stays the error's type while an endpoint is held: nobody but an operator mends it.
OF_TLS: Final = frozenset(
    {proxy_errors.TLS_CERTIFICATE_ERROR, proxy_errors.TLS_ALERT_RECEIVED, proxy_errors.TLS_PROTOCOL_ERROR}
)
TOLD: Final = 500  # characters that are kept of why a dial failed


@dataclass(frozen=True, slots=True)
class FailedDial:
    """The last there was: not the error itself, which keeps what was at hand when it was raised."""

    at: float  # monotonic
    proxy_error: str
    details: str


class Holding:
    """The dials of one pool, as far as they fail."""

    __slots__ = ("_failed_at", "_hold", "_random", "failures", "last", "refill_at", "told", "until")

    def __init__(self, random: Random) -> None:
        self.failures = 0  # rounds in a row
        self.until = 0.0  # requests are turned away until then
        self.refill_at = 0.0  # the floor is left alone until then
        self._hold = 0.0  # seconds
        self._failed_at = float("-inf")
        self.last: FailedDial | None = None  # it stays when later ones succeed
        self.told: Callable[[UpstreamError], None] | None = None  # of each that fails
        self._random = random

    def failed(self, error: UpstreamError, began: float, now: float) -> bool:
        """A dial that began at `began` failed at `now`; whether the endpoint is held from now on."""
        self.note(error, now)
        if began >= self._failed_at:
            self.failures += 1
            self._failed_at = now
        doublings = min(self.failures - 1, DOUBLINGS_MAX)
        pause = min(REFILL_PAUSE * 2**doublings, REFILL_PAUSE_MAX)
        self.refill_at = now + pause * (0.5 + self._random.random() / 2)
        if self.failures < ROUNDS_BEFORE_HOLD:
            return False
        hold = min((now - began) * 2 ** (doublings - ROUNDS_BEFORE_HOLD + 1), HOLD_MAX)
        if error.proxy_error in OF_TLS:
            hold = max(hold, min(OF_TLS_LEAST * 2 ** (doublings - ROUNDS_BEFORE_HOLD + 1), HOLD_MAX))
        self._hold = hold if hold >= HOLD_LEAST else 0.0
        self.until = now + self._hold
        return self._hold > 0

    def note(self, error: UpstreamError, now: float) -> None:
        """Keep and tell why a dial failed; it holds nobody."""
        self.last = FailedDial(now, error.proxy_error, error.details[:TOLD])
        if self.told is not None:
            self.told(error)

    def probe(self, now: float) -> bool:
        """Somebody dials; whether the others are to be turned away until it is known how that ends."""
        if not self._hold:
            return False
        self.until = now + self._hold
        return True

    def succeeded(self) -> bool:
        """A dial succeeded: all is forgotten. Whether the endpoint was held before."""
        was_held = self._hold > 0
        self.failures = 0
        self.until = self.refill_at = self._hold = 0.0
        return was_held

    def error(self, name: str, now: float) -> UpstreamError:
        """What requests are told meanwhile; no octet of them was sent."""
        told = self.last.details if self.last is not None else ""
        kind = self.last.proxy_error if self.last is not None and self.last.proxy_error in OF_TLS else ""
        details = (
            f"no connection to {name} after {self.failures} attempts in a row, the last: {told};"
            f" next attempt in {max(0.0, self.until - now):.1f} s"
        )
        return UpstreamError(503, flags.NO_HEALTHY_UPSTREAM, details, retry=Resend.UNSENT, proxy_error=kind)

    def __repr__(self) -> str:
        return f"<Holding after {self.failures} failures, until {self.until:.1f}>"
