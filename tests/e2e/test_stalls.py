"""Whoever reads what a sidecar says about its work may stall, vanish and come back as it likes: no request notices.

Standard error, the access log (a FIFO), the collector and clients of the admin page stall at random, by a seed, while
requests go on; so do clients whose connections we end, each of which causes a line of the log.
"""

import contextlib
import http.client
import os
import random
import socket
import threading
import time

import pytest
from support.origin import Origin
from support.plain_sidecar import PlainSidecar
from support.processes import until

REQUESTS = 250  # of each client
CLIENTS = 4
HEAD = b"HTTP/1.1 200 OK\r\n"
TELEMETRY = """telemetry:
    otlp: {{endpoint: "http://127.0.0.1:{port}"}}
    accessLog: {{path: {fifo}}}"""


class Stalling:
    """Something that is read, or not, for as long as it lives; `stall` says when not."""

    def __init__(self):
        self.flowing = threading.Event()
        self.flowing.set()
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def turn(self, choice):
        (self.flowing.set if choice.random() < 0.5 else self.flowing.clear)()

    def end(self):
        self.over.set()
        self.flowing.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


class StandardError(Stalling):
    """The reader of a pipe."""

    def __init__(self):
        super().__init__()
        self.reader, self.writer = os.pipe()
        self.said = b""

    def _run(self):
        os.set_blocking(self.reader, False)
        while not self.over.is_set():
            self.flowing.wait(1)
            with contextlib.suppress(BlockingIOError):
                self.said += os.read(self.reader, 4096) if self.flowing.is_set() else b""
            time.sleep(0.002)


class AccessLog(Stalling):
    """The reader of a FIFO, who leaves now and then."""

    def __init__(self, path):
        super().__init__()
        os.mkfifo(path)
        self._path = path
        self.lines = 0

    def _run(self):
        while not self.over.is_set():
            reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            for _ in range(random.Random(self.lines).randrange(20, 200)):
                self.flowing.wait(1)
                with contextlib.suppress(BlockingIOError):
                    self.lines += os.read(reader, 65536).count(b"\n") if self.flowing.is_set() else 0
                time.sleep(0.002)
            os.close(reader)


class Collector(Stalling):
    """Takes connections, and answers well, at length, by drops, or never."""

    def __init__(self, choice):
        super().__init__()
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.settimeout(0.1)
        self.port = self._sock.getsockname()[1]
        self._choice = choice
        self.asked = 0

    def _run(self):
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._sock.accept()
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()
        self._sock.close()

    def _answer(self, client):
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            client.recv(65536)
            self.asked += 1
            manner = self._choice.randrange(4)
            if manner == 0:
                client.sendall(HEAD + b"content-length: 0\r\n\r\n")
            elif manner == 1:
                client.sendall(HEAD + b"content-length: 1000000000\r\n\r\n" + b"x" * 4_000_000)
            else:
                client.sendall(HEAD)
                for _ in range(200):
                    if self.over.wait(0.02):
                        return
                    client.sendall(b"x" if manner == 2 else b"")


class AdminClients(Stalling):
    """Some connect and say nothing, some ask and do not read; and a probe, which must be answered always."""

    def __init__(self, sidecar):
        super().__init__()
        self._sidecar = sidecar
        self.probes = []

    def _run(self):
        with contextlib.ExitStack() as stack:
            while not self.over.is_set():
                for number in range(20):
                    client = stack.enter_context(socket.create_connection(("127.0.0.1", self._sidecar.admin), 20))
                    if number % 2:
                        with contextlib.suppress(OSError):
                            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
                self.probes.append(self._sidecar.page("GET", "/live")[9:12])
                self.over.wait(0.2)


def load(port, statuses):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        for number in range(REQUESTS):
            connection.request("GET", f"/{number}")
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)


def offend(sidecar, over):
    while not over.is_set():
        with contextlib.suppress(OSError):
            sidecar.offend()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_stalls_of_whoever_watches_fail_no_request(tmp_path, seed):
    choice = random.Random(seed)
    stderr, log, collector = StandardError(), AccessLog(tmp_path / "fifo"), Collector(choice)
    spec = TELEMETRY.format(port=collector.port, fifo=tmp_path / "fifo")
    statuses, over = [], threading.Event()
    with Origin() as app:
        folder = tmp_path / "sidecar"
        folder.mkdir()
        sidecar = PlainSidecar(folder, stderr.writer, app=app.address, spec=spec, telemetry=None)
        admin = AdminClients(sidecar)
        try:
            for each in (stderr, log, collector, admin):
                each.start()
            clients = [threading.Thread(target=load, args=(sidecar.port, statuses)) for _ in range(CLIENTS)]
            clients.append(threading.Thread(target=offend, args=(sidecar, over)))
            for each in clients:
                each.start()
            while any(each.is_alive() for each in clients[:CLIENTS]):
                choice.choice([stderr, log]).turn(choice)
                time.sleep(0.02)
            over.set()
            for each in clients:
                each.join(60)
            assert statuses == [200] * (REQUESTS * CLIENTS)
            stderr.flowing.clear()  # and nobody reads how it ends
        finally:
            admin.end()
            code = sidecar.end()
            for each in (stderr, log, collector):
                each.end()
            os.close(stderr.reader)
            os.close(stderr.writer)
    assert code == 0
    assert set(admin.probes) == {b"200"}
    assert log.lines > 0
    assert b"Traceback" not in stderr.said
    until(lambda: collector.asked > 0, 1)
