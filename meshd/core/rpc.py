"""One gRPC call inside an exchange: until when its client waits, how many messages went by, how it ended."""

NEVER = float("inf")
PREFIX = 5  # octets before each message: one of flags, four of length (grpc/grpc doc/PROTOCOL-HTTP2.md)


class Messages:
    """Counts the messages in one direction as their octets go by, in pieces of any size; keeps none of them."""

    __slots__ = ("_left", "_prefix", "count")

    def __init__(self) -> None:
        self.count = 0  # whole ones
        self._left = 0  # octets that the message under way still lacks
        self._prefix = b""  # the beginning of a prefix that is not here in full

    def feed(self, data: bytes) -> None:
        """So much of the body came."""
        size = len(data)
        at = self._left
        if at:
            if at > size:
                self._left = at - size
                return
            self._left = 0
            self.count += 1
        elif self._prefix:
            data = self._prefix + data
            size = len(data)
            self._prefix = b""
        while at < size:
            if size - at < PREFIX:
                self._prefix = data[at:]
                return
            at += PREFIX + int.from_bytes(data[at + 1 : at + PREFIX], "big")
            if at > size:
                self._left = at - size
                return
            self.count += 1

    def __repr__(self) -> str:
        return f"<Messages {self.count}{' and one under way' if self._left or self._prefix else ''}>"


class Rpc:
    """What an exchange knows besides, when it is a call of gRPC."""

    __slots__ = (
        "deadline",  # float: monotonic, from grpc-timeout; inf when the client set none
        "received",  # Messages: from the client
        "sent",  # Messages: to the client
        "status",  # int | None: grpc-status as the client got it; None when it got none
    )

    def __init__(self, deadline: float = NEVER) -> None:
        self.deadline = deadline
        self.received = Messages()
        self.sent = Messages()
        self.status: int | None = None

    def __repr__(self) -> str:
        ended = "under way" if self.status is None else f"status {self.status}"
        return f"<Rpc {self.received.count} received, {self.sent.count} sent, {ended}>"
