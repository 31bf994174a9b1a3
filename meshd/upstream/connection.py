"""What a pool needs to know of a connection, whatever protocol it speaks."""

from typing import Protocol


class Connection(Protocol):
    """One connection to an endpoint. Monotonic seconds."""

    born: float
    idle_since: float
    uses: int  # exchanges it has carried

    @property
    def streams(self) -> int:
        """How many exchanges it may carry at the same time: one for HTTP/1.1."""

    def has_room(self) -> bool:
        """Whether a connection that carries one exchange takes another now; not when its peer is going away."""

    def is_stale(self) -> bool:
        """Whether it has ended, or said something unasked, while idle. One cheap system call."""

    def is_quiet(self) -> bool:
        """Whether it is known not to be stale, as of the last turn of the event loop. No system call."""

    def close(self) -> None:
        """Close it at once."""
