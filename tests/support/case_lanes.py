"""Cases by the hundred through one running sidecar, side by side, because some have to wait for what must not come."""

import contextlib
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from support.origin import Origin

LANES = 12


class Lanes:
    """Apps, each behind a listener of its own, lent to one case at a time."""

    def __init__(self, lanes: list[tuple[Origin, str]]) -> None:
        self._free: queue.SimpleQueue[tuple[Origin, str]] = queue.SimpleQueue()
        for lane in lanes:
            self._free.put(lane)

    def check(self, rows: list[dict], run: Callable[[dict, Origin, str], str]) -> None:
        """Run every case: `run(row, app, address)` is empty, or says what went wrong."""

        def verdict(row: dict) -> str:
            lane = self._free.get()
            try:
                wrong = run(row, *lane)
            finally:
                self._free.put(lane)
            return f"{row['id']} ({row['expect']}, {row['level']}): {wrong}: {row['why']}" if wrong else ""

        with ThreadPoolExecutor(LANES) as pool:
            wrong = [each for each in pool.map(verdict, rows) if each]
        assert not wrong, f"{len(wrong)} of {len(rows)}:\n" + "\n".join(wrong)


@contextlib.contextmanager
def opened(mesh, app: Callable[[], Origin] = Origin) -> Iterator[Lanes]:
    """Lanes of a sidecar in that mesh, each to an app of its own."""
    names = [f"lane{number}.test" for number in range(LANES)]
    with contextlib.ExitStack() as stack:
        apps = [stack.enter_context(app()) for _ in names]
        for name, each in zip(names, apps, strict=True):
            mesh.entry(name, each.address)
        sidecar = mesh.run("out", outbound=[{"listen": "127.0.0.1:0", "service": f"{name}:80"} for name in names])
        yield Lanes([(each, sidecar.address(f"outbound-{number}")) for number, each in enumerate(apps)])
