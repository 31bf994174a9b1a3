"""What policies ask of the forwarder, for one exchange. Most exchanges have none of it."""

from collections.abc import Callable
from typing import TypeAlias

from meshd.core.chain import ResponseStep
from meshd.core.endpoint import Endpoint
from meshd.core.head import Headers

Edit: TypeAlias = Callable[[Headers], Headers]  # the fields of a response as they are to be, from those that came
NO_LIMIT = float("inf")


class Asked:
    """Written by request steps, read while the exchange is carried."""

    __slots__ = (
        "allow_origin",  # bytes: what a browser is told about the request's origin; empty for nothing
        "cluster",  # str: the side of a split that its session is at; empty for none
        "endpoint",  # Endpoint | None: where its session is
        "marks",  # list[ResponseStep]: what is done to an answer of our own as to one of the upstream
        "max_request",  # float: octets of request body, infinite for no limit
        "max_response",  # float: octets of response body
        "mirrors",  # list[str]: clusters that get a copy
        "told",  # list[Edit]: what authorizers say of the response
    )

    def __init__(self) -> None:
        self.allow_origin = b""
        self.cluster = ""
        self.endpoint: Endpoint | None = None
        self.marks: list[ResponseStep] = []
        self.max_request = NO_LIMIT
        self.max_response = NO_LIMIT
        self.mirrors: list[str] = []
        self.told: list[Edit] = []

    def __repr__(self) -> str:
        return f"<Asked bodies of at most {self.max_request} and {self.max_response} octets>"
