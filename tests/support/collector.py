"""An OpenTelemetry collector in a thread of this process, over HTTP or gRPC, that remembers what it was sent.

`answers` says how it treats the next requests: "ok", "down" (503 / UNAVAILABLE), "busy" (429 with Retry-After /
RESOURCE_EXHAUSTED) or "hang"; the last one stays in force.
"""

import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collected:
    """What arrived, and how to answer."""

    def __init__(self):
        self.changed = threading.Condition()
        self.released = threading.Event()  # lets go of those that hang
        self.answers = ["ok"]
        self.requests = 0
        self.headers = {}
        self.traces = []
        self.metrics = []

    def next_answer(self):
        with self.changed:
            self.requests += 1
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            self.changed.notify_all()
        if answer == "hang":
            self.released.wait(30)
        return answer

    def keep(self, message):
        with self.changed:
            (self.traces if isinstance(message, trace_service_pb2.ExportTraceServiceRequest) else self.metrics).append(
                message
            )
            self.changed.notify_all()

    def wait_until(self, condition, timeout=10.0):
        """Until `condition(self)` holds; fails the test when it never does."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), timeout), (
                f"{len(self.traces)} traces, {self.requests} requests"
            )

    @property
    def spans(self):
        """Every span that arrived, by name and kind."""
        return [
            span
            for message in self.traces
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self):
        """The attributes of who sent the first spans."""
        return attributes(self.traces[0].resource_spans[0].resource)

    @property
    def latest_metrics(self):
        """The metrics of the last message, by name."""
        scope = self.metrics[-1].resource_metrics[0].scope_metrics[0]
        return {metric.name: metric for metric in scope.metrics}


def attributes(message):
    """OTLP attributes as a dict."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in message.attributes}


class HttpCollector(Collected):
    """Speaks http/protobuf on a free port."""

    protocol = "http/protobuf"

    def __init__(self):
        super().__init__()
        collected = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collected.headers = dict(self.headers)
                answer = collected.next_answer()
                traces = self.path == "/v1/traces"
                if answer == "ok":
                    kind = (
                        trace_service_pb2.ExportTraceServiceRequest
                        if traces
                        else metrics_service_pb2.ExportMetricsServiceRequest
                    )
                    collected.keep(kind.FromString(body))
                try:
                    self.send_response({"ok": 200, "busy": 429}.get(answer, 503))
                    if answer == "busy":
                        self.send_header("retry-after", "0")
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    pass  # the client did not wait

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class GrpcCollector(Collected):
    """Speaks gRPC on a free port."""

    protocol = "grpc"

    def __init__(self):
        super().__init__()
        collected = self

        def export(request, context):
            answer = collected.next_answer()
            if answer != "ok":
                busy = answer == "busy"
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED if busy else grpc.StatusCode.UNAVAILABLE, answer)
            collected.keep(request)

        class Traces(trace_service_pb2_grpc.TraceServiceServicer):
            def Export(self, request, context):
                export(request, context)
                return trace_service_pb2.ExportTraceServiceResponse()

        class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
            def Export(self, request, context):
                export(request, context)
                return metrics_service_pb2.ExportMetricsServiceResponse()

        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), self._server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self):
        self.released.set()
        self._server.stop(0).wait()
