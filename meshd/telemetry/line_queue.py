"""Lines that wait to be written: bounded in bytes; what does not fit is dropped and counted."""

from collections import deque


class LineQueue:
    """What waits, in order. Not for two threads at once."""

    __slots__ = ("_bound", "_lines", "dropped", "queued")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._lines: deque[bytes] = deque()
        self.queued = 0  # bytes
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._lines)

    def put(self, line: bytes) -> bool:
        """Queue a line that ends with a newline; False when there is no room, and it is dropped."""
        if self.queued + len(line) > self._bound:
            self.dropped += 1
            return False
        self._lines.append(line)
        self.queued += len(line)
        return True

    def take(self, size: int) -> list[bytes]:
        """The next lines, as many as have `size` bytes together, or one that is longer; empty when none waits."""
        lines: list[bytes] = []
        taken = 0
        while self._lines and (not lines or taken + len(self._lines[0]) <= size):
            lines.append(self._lines.popleft())
            taken += len(lines[-1])
        self.queued -= taken
        return lines

    def statistics(self) -> dict[str, int]:
        """What waits, and what was given up."""
        return {"waiting": len(self._lines), "queued_bytes": self.queued, "dropped": self.dropped}

    def __repr__(self) -> str:
        return f"<LineQueue {len(self._lines)} waiting, {self.dropped} dropped>"
