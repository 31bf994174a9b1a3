"""A POST is never delivered twice, wherever the connection to the app, or between the sidecars, breaks."""

import contextlib
import http.client
import socket
import struct
import threading
from collections import Counter

import pytest
from support.origin import Hangup, Origin, Reset, ok

RESPONSE = ok(b"done")


def post(address: str, key: str) -> int:
    """The status of one POST; 0 when the connection broke."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request("POST", f"/{key}", b"charge the card", {"host": "pay.test"})
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def delivered(origin) -> Counter:
    return Counter(each.target for each in origin.take() if each.complete)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [Hangup, Reset])
def test_the_app_breaks_off_after_every_octet_of_its_response(mesh, ending):
    cut = 0

    def behave(wire, request):
        wire.sock.sendall(RESPONSE[:cut])
        if cut < len(RESPONSE):
            raise ending

    with Origin(behave) as origin:
        server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        mesh.entry("pay.test", server.address("inbound-0"), mesh=True, account="server")
        address = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}]).address("outbound-0")
        for offset in range(len(RESPONSE) + 1):
            cut = offset
            status = post(address, f"{offset}")
            seen = delivered(origin)
            assert seen == {f"/{offset}": 1}, (offset, seen)
            # RST may overtake what was sent before it, so even a whole response can be lost then.
            assert (status == 200) == (offset == len(RESPONSE)), (offset, status)


@pytest.mark.slow
def test_the_app_breaks_off_after_every_octet_of_the_request(mesh):
    """An app that closes in the midst of a request: it never sees it whole, and no other connection brings it again."""
    whole, cut = Counter(), 0
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve():
        while not over.is_set():
            with contextlib.suppress(OSError):
                sock, _ = listener.accept()
                threading.Thread(target=one, args=(sock, cut), daemon=True).start()

    def one(sock, limit):
        data = b""
        with sock, contextlib.suppress(OSError):
            while len(data) < limit or not limit:
                piece = sock.recv(max(1, min(65536, limit - len(data))))
                if not piece:
                    return
                data += piece
                if data.endswith(b"charge the card"):
                    whole[data.split(b" ")[1]] += 1
                    sock.sendall(RESPONSE)
                    data = b""
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    mesh.policy(
        "lazy",
        """
        apiVersion: meshd.dev/v1alpha1
        kind: BackendPolicy
        metadata: {name: lazy, namespace: default}
        spec: {targetRefs: [{kind: ServiceEntry, name: pay.test, group: networking.istio.io}], warm: {mode: lazy}}
        """,
    )
    mesh.entry("pay.test", address)
    try:
        sidecar = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        for offset in range(1, 420, 3):
            cut = offset
            post(sidecar.address("outbound-0"), f"{offset}")
            assert all(number == 1 for number in whole.values()), (offset, whole)
    finally:
        over.set()
        listener.close()


class Relay:
    """TCP between the sidecars, cut after so many octets from the client's side or to it."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.up = self.down = 1 << 30  # octets until the cut
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()
        self.cut_all()

    def cut_all(self) -> None:
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._open.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._open.append(near)
                host, _, port = self.target.rpartition(":")
                far = socket.create_connection((host, int(port)))
                self._open.append(far)
                for source, sink, name in ((near, far, "up"), (far, near, "down")):
                    threading.Thread(target=self._pump, args=(source, sink, name), daemon=True).start()

    def _pump(self, source, sink, name) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                left = getattr(self, name)
                sink.sendall(data[:left])
                setattr(self, name, left - len(data))
                if len(data) >= left:
                    break
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["up", "down"])
def test_the_wire_between_the_sidecars_breaks_after_every_octet(mesh, way):
    with Origin(lambda wire, request: wire.sock.sendall(RESPONSE)) as origin:
        server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        with Relay(server.address("inbound-0")) as relay:
            mesh.entry("pay.test", relay.address, mesh=True, account="server")
            address = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}]).address("outbound-0")
            assert post(address, "first") == 200
            origin.take()
            for offset in range(1, 700 if way == "up" else 260, 3):
                relay.up = relay.down = 1 << 30
                assert post(address, f"warm{offset}") in (0, 200, 502, 503)  # the cut of before may show only now
                origin.take()
                setattr(relay, way, offset)
                post(address, f"{offset}")
                seen = delivered(origin)
                assert all(number == 1 for number in seen.values()), (offset, seen)
