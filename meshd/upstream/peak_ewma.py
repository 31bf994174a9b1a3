"""Peak EWMA by the power of two choices: the one of two that promises the earlier answer.

linkerd2-proxy's balancer and numbers: a latency that jumps up at once, comes down over ten seconds, and fades towards
nothing while nobody asks, so that an endpoint which was slow is looked at again; times what is under way there. An
endpoint that never answered is taken to need 30 ms.
"""

from collections.abc import Sequence
from math import exp
from random import Random
from typing import Final

from meshd.core.endpoint import Endpoint
from meshd.upstream.draw import Draw

DEFAULT_RTT: Final = 0.03  # seconds
DECAY: Final = 10.0  # seconds
LEAST: Final = 1e-6  # seconds; a latency that has faded still tells one request under way from ten


class PeakEwma:
    """Two are drawn by weight; the cheaper one is picked, the first drawn when they cost the same."""

    __slots__ = ("_draw",)

    def __init__(self, random: Random, _size: int = 0) -> None:
        self._draw = Draw(random)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Weights may have changed."""
        self._draw.forget()

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        """The cheaper of two."""
        if len(candidates) == 1:
            return candidates[0]
        one, other = self._draw.two(candidates)
        return one if cost(one, now) <= cost(other, now) else other


def cost(endpoint: Endpoint, now: float) -> float:
    """Expected seconds until an answer."""
    latency = endpoint.ewma * exp((endpoint.ewma_at - now) / DECAY) + LEAST
    return latency * (1 + endpoint.active / (endpoint.weight or 1))


def seed(endpoint: Endpoint, now: float) -> None:
    """Assume the default of an endpoint that nobody has seen answer; from `now` on it fades like an observed one."""
    if not endpoint.ewma_at:
        endpoint.ewma = DEFAULT_RTT
        endpoint.ewma_at = now


def observe_latency(endpoint: Endpoint, seconds: float, now: float) -> None:
    """A peak is believed at once, a lower latency slowly."""
    ewma = endpoint.ewma
    if seconds >= ewma:
        endpoint.ewma = seconds
    else:
        kept = exp(min(0.0, (endpoint.ewma_at - now) / DECAY))
        endpoint.ewma = ewma * kept + seconds * (1 - kept)
    endpoint.ewma_at = now


def observe_failure(endpoint: Endpoint, seconds: float, now: float) -> None:
    """A failure never makes an endpoint look faster, however fast it came, nor lets its latency fade."""
    observe_latency(endpoint, max(seconds, endpoint.ewma), now)
