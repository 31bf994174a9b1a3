"""A real authorizer of gRPC, in the words of the public proto: answers as told, and remembers what it was asked."""

import time
from concurrent import futures

import grpc
from support.check_proto import METHOD, CheckRequest, CheckResponse

SERVICE, NAME = METHOD.strip("/").split("/")


class Authorizer:
    """`with Authorizer(answer) as door: door.address`. `answer` gets a request and returns the fields of a response;
    what it raises ends the call."""

    def __init__(self, answer, port=0):
        self.answer = answer
        self.asked = []
        self.calls = []  # the metadata of each
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        handler = grpc.unary_unary_rpc_method_handler(
            self._check, CheckRequest.FromString, lambda response: response.SerializeToString()
        )
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {NAME: handler})])
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        self._server.start()

    def _check(self, request, context):
        self.asked.append(request.attributes)
        self.calls.append(dict(context.invocation_metadata()) | {"left": context.time_remaining()})
        return CheckResponse(**self.answer(request.attributes, context))

    def take(self):
        taken, self.asked = self.asked, []
        return taken

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._server.stop(None).wait(5)


def option(key, value, **more):
    """A HeaderValueOption."""
    return {"header": {"key": key, "value": value}} | more


def by_the_path(attributes, context):
    """Answers that tests know by the path that they ask for."""
    path = attributes.request.http.path.partition("?")[0]
    if path == "/hang":
        time.sleep(3)
    if path == "/break":
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
    return ANSWERS.get(path, {"ok_response": {}})


OVERWRITE, APPEND, IF_ABSENT, IF_THERE = (
    {"append_action": 2},
    {"append_action": 0},
    {"append_action": 1},
    {"append_action": 3},
)
SET, JOIN = {"append": {"value": False}}, {"append": {"value": True}}
ALL = [
    option(f"x-{there}-{number}", "new", **more)
    for there in ("there", "absent")
    for number, more in enumerate((OVERWRITE, APPEND, IF_ABSENT, IF_THERE, SET, JOIN, {}))
]
ANSWERS = {
    "/nothing": {},
    "/edit": {"ok_response": {"headers": ALL}},
    "/in-turn": {
        "ok_response": {
            "headers": [
                option("x-a", "1", **OVERWRITE),
                option("x-a", "2", **APPEND),
                option("x-a", "3", **IF_ABSENT),
                option("X-B", "1", **SET),
                option("x-b", "2", **JOIN),
                option("x-c", "1", **JOIN),
                option("x-c", "2", **JOIN),
            ],
            "headers_to_remove": ["x-there-0", "X-There-1", "host", ":path"],
        }
    },
    "/set-and-remove": {"ok_response": {"headers": [option("x-a", "1", **SET)], "headers_to_remove": ["x-a"]}},
    "/query": {
        "ok_response": {
            "query_parameters_to_set": [{"key": "a", "value": "9"}, {"key": "n", "value": "0"}],
            "query_parameters_to_remove": ["b"],
        }
    },
    "/elsewhere": {"ok_response": {"headers": [option(":path", "/admin", **SET)]}},
    "/tell": {"ok_response": {"response_headers_to_add": [each for each in ALL if "absent" in each["header"]["key"]]}},
    "/denied": {"status": {"code": 7}},
    "/denied-with-ok": {"status": {"code": 7}, "ok_response": {"headers": [option("x-a", "1")]}},
    "/ok-with-denied": {"status": {"code": 0}, "denied_response": {"status": {"code": 401}}},
    "/teapot": {
        "status": {"code": 16},
        "denied_response": {
            "status": {"code": 418},
            "headers": [
                option("x-why", "no"),
                option("set-cookie", "a=1"),
                option("set-cookie", "b=2"),
                option("content-type", "text/html", **OVERWRITE),
            ],
            "body": "<p>no</p>",
        },
    },
    "/moved": {
        "status": {"code": 7},
        "denied_response": {"status": {"code": 302}, "headers": [option("location", "http://login.test/", **SET)]},
    },
    "/could-not": {
        "status": {"code": 13},
        "error_response": {"status": {"code": 503}, "headers": [option("x-why", "later")], "body": "later"},
    },
    "/could-not-say": {"status": {"code": 13}, "error_response": {}},
}
