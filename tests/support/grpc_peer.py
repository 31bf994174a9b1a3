"""A client of gRPC, and the app of `tests/e2e/grpc_app.py` in a process of its own; messages are plain octets."""

import queue
import sys
from pathlib import Path

import grpc
import pytest
from support.processes import running, until

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
APP = Path(__file__).parents[1] / "e2e" / "grpc_app.py"
PATIENCE = 30  # seconds for a call that ought to be answered


class Client:
    """A channel to a sidecar, for one host."""

    def __init__(self, address, host):
        options = [*UNLIMITED, ("grpc.default_authority", host), ("grpc.use_local_subchannel_pool", 1)]
        options.append(("grpc.enable_retries", 0))
        self.channel = grpc.insecure_channel(address, options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def unary(self, method, request=b"", timeout=PATIENCE, **options):
        return self.channel.unary_unary(f"/test.Echo/{method}")(request, timeout, **options)

    def future(self, method, request=b"", timeout=PATIENCE, **options):
        return self.channel.unary_unary(f"/test.Echo/{method}").future(request, timeout, **options)

    def up(self, method, requests, timeout=PATIENCE):
        return self.channel.stream_unary(f"/test.Echo/{method}")(requests, timeout)

    def down(self, method, request=b"", timeout=PATIENCE):
        return self.channel.unary_stream(f"/test.Echo/{method}")(request, timeout)

    def both(self, method, requests, timeout=PATIENCE):
        return self.channel.stream_stream(f"/test.Echo/{method}")(requests, timeout)

    def status(self, method, request=b"", **options):
        """How a call fails: its error."""
        with pytest.raises(grpc.RpcError) as caught:
            self.unary(method, request, **options)
        return caught.value


class Typist:
    """Requests that are made up as the call goes on."""

    def __init__(self):
        self._queue = queue.SimpleQueue()

    def say(self, request):
        self._queue.put(request)

    def stop(self):
        self._queue.put(None)

    def __iter__(self):
        return self

    def __next__(self):
        if (request := self._queue.get()) is None:
            raise StopIteration
        return request


def start_app(folder):
    """The app in a process of its own: what runs it, and where to find its address."""
    path = folder / "port"
    log = folder / "app.log"
    return running([sys.executable, str(APP), str(path)], log), path


def address_of(path):
    port = until(lambda: path.exists() and path.read_text(), what="the app listens")
    return f"127.0.0.1:{port}"


def refusal(client):
    """The status of a small call, None when it is answered."""
    try:
        client.unary("Echo", timeout=5)
    except grpc.RpcError as error:
        return error.code()
