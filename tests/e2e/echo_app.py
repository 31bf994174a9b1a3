"""An app that echoes: `python echo_app.py WORKLOAD NAMESPACE READY_FILE`.

It answers every request, in HTTP/1.1 and as the gRPC method proto.EchoTestService/Echo, with who it is and what came,
on two ports of its own that it writes to READY_FILE.
"""

import json
import sys
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc

WORKLOAD, NAMESPACE, READY = sys.argv[1], sys.argv[2], Path(sys.argv[3])


def told(method, path, headers):
    """What an answer says."""
    found = {"workload": WORKLOAD, "namespace": NAMESPACE, "method": method, "path": path, "headers": headers}
    return json.dumps(found).encode()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment
    disable_nagle_algorithm = True

    def do_GET(self):
        body = told(self.command, self.path, self.headers.items())
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def echo(_request, context):
    fields = [(each.key, each.value) for each in context.invocation_metadata() if isinstance(each.value, str)]
    return told("POST", "/proto.EchoTestService/Echo", fields)


def main():
    plain = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    rpc = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    kinds = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("proto.EchoTestService", kinds),))
    ports = {"http": plain.server_port, "grpc": rpc.add_insecure_port("127.0.0.1:0")}
    rpc.start()
    fresh = READY.with_suffix(".new")
    fresh.write_text(json.dumps(ports))
    fresh.rename(READY)
    plain.serve_forever()


main()
