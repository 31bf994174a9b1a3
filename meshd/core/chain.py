"""Policies as plain functions, in the order they run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from meshd.core.head import ResponseHead
from meshd.core.reply import Reply

if TYPE_CHECKING:
    from meshd.core.exchange import Exchange  # an exchange holds its route, which holds its chain

RequestStep: TypeAlias = "Callable[[Exchange], Reply | None]"
ResponseStep: TypeAlias = "Callable[[Exchange, ResponseHead], None]"


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps in their order: the first request step to return a `Reply` ends the exchange; response steps edit."""

    on_request: tuple[RequestStep, ...] = ()
    on_response: tuple[ResponseStep, ...] = ()

    def __add__(self, other: "Chain") -> "Chain":
        if not (self.on_request or self.on_response):
            return other
        return Chain(self.on_request + other.on_request, self.on_response + other.on_response)


EMPTY_CHAIN = Chain()
