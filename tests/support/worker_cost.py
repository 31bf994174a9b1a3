"""What the worker of a running sidecar costs, as the kernel counts it."""

import os
import re
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1048576


class WorkerCost:
    """Of a sidecar with one worker."""

    def __init__(self, sidecar) -> None:
        children = Path(f"/proc/{sidecar.pid}/task/{sidecar.pid}/children").read_text().split()
        (self.pid,) = [int(each) for each in children if "worker" in Path(f"/proc/{each}/comm").read_text()]

    def resident(self) -> float:
        """Its memory, in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB

    def own(self) -> float:
        """Its memory that it shares with nobody, in MiB."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return sum(int(kib) for kib in re.findall(r"^Private_\w+: +(\d+) kB", text, re.MULTILINE)) / 1024

    def seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
