"""The messages of envoy.service.auth.v3 by the library, from descriptors that say what the public proto files say.

Sources: envoyproxy/envoy api/envoy/service/auth/v3/{external_auth,attribute_context}.proto,
api/envoy/config/core/v3/{base,address}.proto, api/envoy/type/v3/http_status.proto; googleapis google/rpc/status.proto.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "envoy.service.auth.v3"
METHOD = f"/{PACKAGE}.Authorization/Check"
TYPES = {name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}") for name in (
    "string", "bytes", "bool", "int32", "int64", "uint32", "message",
)}  # fmt: skip
# name: {field: (number, type)}; "*" before a type is repeated, "|" before it one of a choice, an upper-case type is a
# message of this file, "map" is one of strings.
MESSAGES = {
    "Timestamp": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    "SocketAddress": {"protocol": (1, "int32"), "address": (2, "string"), "port_value": (3, "uint32")},
    "Address": {"socket_address": (1, "SocketAddress")},
    "Peer": {
        "address": (1, "Address"),
        "service": (2, "string"),
        "labels": (3, "map"),
        "principal": (4, "string"),
        "certificate": (5, "string"),
    },
    "HttpRequest": {
        "id": (1, "string"),
        "method": (2, "string"),
        "headers": (3, "map"),
        "path": (4, "string"),
        "host": (5, "string"),
        "scheme": (6, "string"),
        "query": (7, "string"),
        "fragment": (8, "string"),
        "size": (9, "int64"),
        "protocol": (10, "string"),
        "body": (11, "string"),
        "raw_body": (12, "bytes"),
    },
    "Request": {"time": (1, "Timestamp"), "http": (2, "HttpRequest")},
    "AttributeContext": {
        "source": (1, "Peer"),
        "destination": (2, "Peer"),
        "request": (4, "Request"),
        "context_extensions": (10, "map"),
    },
    "CheckRequest": {"attributes": (1, "AttributeContext")},
    "Status": {"code": (1, "int32"), "message": (2, "string")},
    "HttpStatus": {"code": (1, "int32")},
    "HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "BoolValue": {"value": (1, "bool")},
    "HeaderValueOption": {
        "header": (1, "HeaderValue"),
        "append": (2, "BoolValue"),
        "append_action": (3, "int32"),
        "keep_empty_value": (4, "bool"),
    },
    "QueryParameter": {"key": (1, "string"), "value": (2, "string")},
    "DeniedHttpResponse": {"status": (1, "HttpStatus"), "headers": (2, "*HeaderValueOption"), "body": (3, "string")},
    "OkHttpResponse": {
        "headers": (2, "*HeaderValueOption"),
        "headers_to_remove": (5, "*string"),
        "response_headers_to_add": (6, "*HeaderValueOption"),
        "query_parameters_to_set": (7, "*QueryParameter"),
        "query_parameters_to_remove": (8, "*string"),
    },
    "CheckResponse": {
        "status": (1, "Status"),
        "denied_response": (2, "|DeniedHttpResponse"),
        "ok_response": (3, "|OkHttpResponse"),
        "error_response": (5, "|DeniedHttpResponse"),
    },
}


def _file():
    file = descriptor_pb2.FileDescriptorProto(name="check.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            bare = kind.lstrip("*|")
            made = message.field.add(name=field, number=number, label=3 if kind == "map" or kind[0] == "*" else 1)
            if kind == "map":
                entry = message.nested_type.add(name=f"{field.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                for place, part in enumerate(("key", "value"), 1):
                    entry.field.add(name=part, number=place, label=1, type=TYPES["string"])
                made.type, made.type_name = TYPES["message"], f".{PACKAGE}.{name}.{entry.name}"
            elif bare in TYPES:
                made.type = TYPES[bare]
            else:
                made.type, made.type_name = TYPES["message"], f".{PACKAGE}.{bare}"
            if kind[0] == "|":
                if not message.oneof_decl:
                    message.oneof_decl.add(name="http_response")
                made.oneof_index = 0
    return file


_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(_file().SerializeToString())
_classes = {
    name: message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES
}
CheckRequest = _classes["CheckRequest"]
CheckResponse = _classes["CheckResponse"]
