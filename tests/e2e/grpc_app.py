"""A gRPC service of plain octets: `python grpc_app.py PORT_FILE`. It takes a port of its own and writes it there."""

import json
import os
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
STREAMS = 150  # handled at a time


class App:
    """What was asked of it, and what became of the calls that wait, by their requests."""

    def __init__(self):
        self.calls = {}
        self.states = {}
        self.lock = threading.Lock()

    def echo(self, request, _context):
        return request

    def join(self, requests, _context):
        return b"".join(requests)

    def count(self, request, _context):
        for number in range(int(request)):
            yield b"%d" % number

    def chat(self, requests, _context):
        for request in requests:
            yield b"re: " + request

    def size(self, requests, _context):
        """How many octets came in all."""
        return b"%d" % sum(map(len, requests))

    def flood(self, request, _context):
        """A megabyte at a time, as many as asked for."""
        for _ in range(int(request)):
            yield bytes(1024 * 1024)

    def fields(self, _request, context):
        """The metadata of the call, and some of ours."""
        found = [(key, value.hex() if isinstance(value, bytes) else value) for key, value in metadata(context)]
        context.send_initial_metadata((("x-first", "1"), ("x-first-bin", bytes(range(256)))))
        context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", b"\0\xff")))
        return json.dumps({"fields": found, "left": context.time_remaining()}).encode()

    def fail(self, request, context):
        """End with the status, the message and the details that are asked for."""
        asked = json.loads(request)
        context.set_trailing_metadata((("grpc-status-details-bin", bytes.fromhex(asked["details"])),))
        context.abort(grpc.StatusCode[asked["code"]], asked["message"])

    def flaky(self, request, context):
        """Unavailable but for every third call of the same name; which call it was."""
        with self.lock:
            number = self.calls[request] = self.calls.get(request, 0) + 1
        if number % 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return b"%d" % number

    def wait(self, request, context):
        """Say one thing, then nothing more until the caller gives up."""
        over = threading.Event()
        context.add_callback(over.set)
        yield b"waiting"
        over.wait(60)
        self.states[request] = b"cancelled"

    def hang(self, request, context):
        """No answer until the caller gives up."""
        over = threading.Event()
        context.add_callback(over.set)
        self.states[request] = b"waits"
        over.wait(60)
        self.states[request] = b"cancelled"
        return b""

    def state(self, request, _context):
        return self.states.get(request, b"")

    def die(self, _request, _context):
        """Say one thing, then end the process."""
        yield b"last words"
        os._exit(3)


def metadata(context):
    return [(pair.key, pair.value) for pair in context.invocation_metadata()]


def main():
    app = App()
    one, up = grpc.unary_unary_rpc_method_handler, grpc.stream_unary_rpc_method_handler
    down, both = grpc.unary_stream_rpc_method_handler, grpc.stream_stream_rpc_method_handler
    kinds = {
        "Echo": one(app.echo),
        "Secret": one(app.echo),
        "Join": up(app.join),
        "Size": up(app.size),
        "Count": down(app.count),
        "Flood": down(app.flood),
        "Chat": both(app.chat),
        "Fields": one(app.fields),
        "Fail": one(app.fail),
        "Flaky": one(app.flaky),
        "Wait": down(app.wait),
        "Hang": one(app.hang),
        "State": one(app.state),
        "Die": down(app.die),
    }
    server = grpc.server(futures.ThreadPoolExecutor(STREAMS), options=UNLIMITED)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", kinds),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    path = Path(sys.argv[1])
    fresh = path.with_suffix(".new")
    fresh.write_text(str(port))
    fresh.rename(path)
    server.wait_for_termination()


main()
