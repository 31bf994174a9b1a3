"""What must not be told: credentials that travel in a URL.

Semantic conventions for HTTP, "url.full": user information and the values of these query keys are replaced by REDACTED.
The set is theirs, and what else is commonly a secret in a query.
"""

import re
from typing import Final

SECRET_KEYS: Final = (
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "access_token",
    "refresh_token",
    "id_token",
    "api_key",
    "apikey",
    "password",
    "client_secret",
)
_SECRET: Final = re.compile(r"((?:^|[&;?])(?:" + "|".join(SECRET_KEYS) + r")=)[^&;]*", re.IGNORECASE)


def redact_query(query: str) -> str:
    """The query without the values of its signed or secret keys."""
    return _SECRET.sub(r"\1REDACTED", query)


def redact_authority(authority: str) -> str:
    """The authority without user information (RFC 9110 section 4.2.4)."""
    return authority.rpartition("@")[2]
