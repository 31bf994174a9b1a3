"""Real processes for end-to-end tests: started, waited for, ended by their own pid."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest


def program(name: str) -> str:
    """A program of the system; the test is skipped where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def meshd() -> list[str]:
    """The command line of this checkout's meshd."""
    return [sys.executable, "-m", "meshd"]


def free_port() -> int:
    """A port that nothing listens on, for a program that cannot take port 0; nobody else is given it while we live.

    It stays bound here without being listened on. Who says SO_REUSEADDR, as servers do, may listen on it nevertheless;
    the kernel gives it to no one else, where even a connection that has just ended would keep the program from it.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    sock.detach()
    return port


def until(condition, seconds: float = 15.0, what: str = "the condition"):
    """Poll until `condition()` is truthy and return what it gave."""
    end = time.perf_counter() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError):
            if found := condition():
                return found
        if time.perf_counter() > end:
            raise TimeoutError(f"{what} did not come about within {seconds} s")
        time.sleep(0.01)


class Running:
    """A started process and its log."""

    def __init__(self, argv: list[str], log: Path, **options) -> None:
        self.log_path = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, **options
            )
        self.pid = self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop(self, seconds: float = 10.0) -> int:
        """SIGTERM, then wait; SIGKILL if it does not end. Returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


@contextlib.contextmanager
def running(argv: list[str], log: Path, **options) -> Iterator[Running]:
    """Run until the block ends."""
    process = Running(argv, log, **options)
    try:
        yield process
    finally:
        process.stop()


class Sidecar(Running):
    """`meshd run` on a document, with the addresses it took once it is ready."""

    def __init__(self, document: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.ready_file = document.with_suffix(".ready.json")
        self.ready_file.unlink(missing_ok=True)
        argv = [*meshd(), "run", "-f", str(document), "--ready-file", str(self.ready_file), *arguments]
        super().__init__(argv, document.with_suffix(".log"), env={**os.environ, **(env or {})})
        self.told: dict[str, Any] = {}

    def wait_ready(self, seconds: float = 15.0) -> Self:
        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"meshd ended with {self.process.returncode}: {self.log}")
            return self.ready_file.exists() and json.loads(self.ready_file.read_text())

        try:
            self.told = until(ready, seconds, "readiness")
        except TimeoutError:
            raise RuntimeError(f"meshd is not ready: {self.log}") from None
        return self

    def address(self, listener: str) -> str:
        """Host and port of a listener by its name, such as `outbound-0`, or of `admin`."""
        if listener == "admin":
            return self.told["admin"]
        return next(each["address"] for each in self.told["listeners"] if each["name"] == listener)

    def kill_hard(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()
