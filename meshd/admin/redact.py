"""Documents without their secrets, for `/config_dump`."""

from typing import Final

from meshd.telemetry.describe import Json

REDACTED: Final = "[redacted]"
# Names of fields whose value is a secret, without case and separators. A field that only says where a secret is kept
# (a file, a name) is shown.
SECRET_NAMES: Final = frozenset(
    {
        "accesskey",
        "apikey",
        "authorization",
        "clientsecret",
        "cookie",
        "passphrase",
        "password",
        "privatekey",
        "proxyauthorization",
        "secret",
        "secretkey",
        "setcookie",
        "ticketkey",
        "ticketkeys",
        "token",
    }
)
KEY_MARK: Final = "PRIVATE KEY-----"


def redact(value: Json) -> Json:
    """A copy in which every secret reads `[redacted]`."""
    if isinstance(value, dict):
        named = value.get("name")
        if isinstance(named, str) and "value" in value and _is_secret(named):  # how lists of headers are written
            value = {**value, "value": REDACTED}
        return {name: REDACTED if each and _is_secret(name) else redact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [redact(each) for each in value]
    if isinstance(value, str) and KEY_MARK in value:
        return REDACTED
    return value


def _is_secret(name: str) -> bool:
    return name.lower().replace("-", "").replace("_", "").replace(".", "") in SECRET_NAMES
