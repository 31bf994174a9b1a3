"""What the children of a real sidecar run: workers with their data path, and the controller.

The controller is imported after the fork, by the one process that runs it: workers have no use for its pages, and the
supervisor starts sooner without it.
"""

from functools import partial

from meshd.process.data_path import Compiler, ServerPath
from meshd.process.source import Source
from meshd.process.start import ControllerStart, WorkerStart
from meshd.process.worker import run_worker


class SidecarRoles:
    """Both roles of one bootstrap's sidecar."""

    __slots__ = ("_compiler", "_source")

    def __init__(self, source: Source, compiler: Compiler) -> None:
        self._source = source
        self._compiler = compiler

    def work(self, start: WorkerStart) -> int:
        """Serve traffic until told to drain."""
        memory = self._compiler.memory(start.accepted.proxy)
        return run_worker(start, self._source, partial(ServerPath, memory=memory))

    def control(self, start: ControllerStart) -> int:
        """Watch, receive and show until told to stop."""
        from meshd.process.controller import run_controller  # noqa: PLC0415  # see the head of this file

        return run_controller(start, self._source)
