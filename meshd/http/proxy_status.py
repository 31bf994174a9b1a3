"""What another proxy says of a response in Proxy-Status (RFC 9209)."""

import re
from typing import Final

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')  # of structured fields; whatever it says, it is no parameter
_ERROR: Final = re.compile(r";[ ]*error=")


def is_by_proxy(value: str) -> bool:
    """Whether a proxy made the response itself, because it could not or would not forward the request: some member
    has an error."""
    return _ERROR.search(_STRING.sub("", value)) is not None
