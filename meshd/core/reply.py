"""A reply that meshd itself makes: the value a policy answers with, and what `proxy/rescue.py` makes of an error."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, flag and cause; how it looks on the wire is rendered in one place, with Proxy-Status.

    `error` is the RFC 9209 error type, None when the reply is an ordinary answer (a redirect, a direct response).
    `details` is the cause for people and logs, such as `rbac_access_denied_matched_policy[none]`.
    """

    status: int
    flag: str = ""
    details: str = ""
    error: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    told: bytes = b""  # the body for the own app and mesh peers, where that may say more than strangers may know
    content_type: bytes = b"text/plain"
    verbatim: bool = False  # the body is somebody else's: not an octet is added
    unprocessed: bool = False  # nothing of the request reached the app: safe to send again, whatever its method
    alert: str = ""  # of TLS, that the next hop sent
    grpc_status: int | None = None  # when a policy knows better than the table of HTTP statuses
