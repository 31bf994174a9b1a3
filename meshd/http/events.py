"""What a codec makes of bytes: a head, pieces of body as plain bytes, and the end of the message."""

from meshd.core.head import Headers


class End:
    """The end of a message, with the trailers that followed its body."""

    __slots__ = ("trailers",)

    def __init__(self, trailers: Headers) -> None:
        self.trailers = trailers

    def __repr__(self) -> str:
        return f"<End {len(self.trailers)} trailers>"


END = End([])  # the usual one; nobody may add to its trailers
