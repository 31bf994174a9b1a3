"""What a span says of the connection and of the call beneath it, in the words of the semantic conventions. Pure.

Sources: OpenTelemetry semantic conventions, docs/registry/attributes/tls.md, docs/rpc/grpc.md and docs/http/; what they
have no name for is `meshd.*`.
"""

from typing import Final, Literal, TypeAlias

from meshd.core.head import split_authority
from meshd.core.tls_session import TlsSession
from meshd.http.grpc import status_name
from meshd.telemetry.describe import timestamp
from meshd.telemetry.record import Record
from meshd.telemetry.records import METHODS
from meshd.telemetry.redact import redact_authority

Value: TypeAlias = bool | int | float | str
Attributes: TypeAlias = dict[str, Value]

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def told(optional: dict[str, Value | None]) -> Attributes:
    """What there is of these: an attribute without a value is none."""
    return {name: value for name, value in optional.items() if value}


def method_of(record: Record) -> Attributes:
    """A known method as it is; any other by the name `_OTHER`, so that names and metrics stay few."""
    if record.method.encode("utf-8", "surrogatepass") in METHODS:
        return {"http.request.method": record.method}
    return {"http.request.method": "_OTHER", "http.request.method_original": record.method}


def tls_of(session: TlsSession | None, peer: Literal["client", "server"]) -> Attributes:
    """A connection's handshake; `peer` says which side of it the other end is. Nothing without TLS."""
    if session is None:
        return {}
    version, resumed, cipher, curve, protocol, spiffe_id, fingerprint, subject, issuer, not_before, not_after = session
    found: Attributes = {"tls.protocol.name": "tls", "tls.established": True, "tls.resumed": resumed}
    found |= told(
        {
            "tls.protocol.version": version,
            "tls.cipher": cipher,
            "tls.curve": curve,
            "tls.next_protocol": protocol,
            "meshd.peer": spiffe_id,
        }
    )
    if fingerprint:
        found |= told(
            {
                f"tls.{peer}.hash.sha256": fingerprint.upper(),
                f"tls.{peer}.subject": subject,
                f"tls.{peer}.issuer": issuer,
                f"tls.{peer}.not_before": timestamp(not_before),
                f"tls.{peer}.not_after": timestamp(not_after),
            }
        )
    return found


def rpc_of(record: Record) -> Attributes:
    """What a call of gRPC is besides; the path names its method."""
    rpc = record.rpc
    if rpc is None:
        return {}
    found: Attributes = {
        "rpc.system.name": "grpc",
        "meshd.messages.received": rpc.received,
        "meshd.messages.sent": rpc.sent,
    }
    name = record.path.removeprefix("/")
    if "/" in name:
        found["rpc.method"] = name
    if rpc.status is not None:
        found["rpc.response.status_code"] = status_name(rpc.status)
    return found


def split_host(authority: str, scheme: str) -> tuple[str, int | None]:
    """Host and port that were asked for; a port that is not said is the scheme's."""
    try:
        host, port = split_authority(redact_authority(authority).encode("utf-8", "surrogatepass"))
    except ValueError:  # more digits than any port has
        return authority, None
    return host.decode("utf-8", "surrogatepass").strip("[]"), port or DEFAULT_PORTS.get(scheme)
