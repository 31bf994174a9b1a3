"""SPIFFE IDs: `spiffe://<trust domain>/<path>`.

Source: the SPIFFE-ID standard, section 2. Scheme and trust domain compare without regard to case, so they are written
in lower case here once and for all; the path is compared octet by octet. Percent-encoding, user information, ports,
queries and fragments have no place in an ID, which leaves exactly one spelling for each identity.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_ID: Final = 2048  # octets, the whole URI
MAX_TRUST_DOMAIN: Final = 255

_SCHEME: Final = "spiffe://"
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+\Z")
_SEGMENT: Final = re.compile(r"[a-zA-Z0-9._-]+\Z")


class InvalidSpiffeId(ValueError):
    """The text is not a SPIFFE ID; the message says which rule it breaks and where."""


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """One identity. `path` begins with a slash, or is empty for the ID of a trust domain itself."""

    trust_domain: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "SpiffeId":
        """Read an ID; raises `InvalidSpiffeId`."""
        if len(text) > MAX_ID:
            raise InvalidSpiffeId(f"a SPIFFE ID has at most {MAX_ID} octets, this one has {len(text)}")
        if text[: len(_SCHEME)].lower() != _SCHEME:
            raise InvalidSpiffeId(f"{_shown(text)} does not begin with {_SCHEME}")
        trust_domain, slash, rest = text[len(_SCHEME) :].partition("/")
        # Only ASCII has its case folded: the lower case of the Kelvin sign is an ASCII letter, and not the same domain.
        trust_domain = check_trust_domain(trust_domain.lower() if trust_domain.isascii() else trust_domain)
        if slash:
            _check_path(rest, text)
        return cls(trust_domain, slash + rest)

    @classmethod
    def of_workload(cls, trust_domain: str, namespace: str, service_account: str) -> "SpiffeId":
        """The ID of a service account, by the convention `/ns/<namespace>/sa/<service account>`."""
        for kind, value in (("namespace", namespace), ("service account", service_account)):
            if not _SEGMENT.match(value) or value in (".", ".."):
                raise InvalidSpiffeId(f"{kind} {_shown(value)}: use letters, digits, '.', '-' and '_'")
        return cls.parse(f"{_SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}")

    @property
    def namespace(self) -> str:
        """The namespace of a path `/ns/<namespace>/sa/<service account>`, empty for other paths."""
        return self._workload()[0]

    @property
    def service_account(self) -> str:
        """The service account of a path `/ns/<namespace>/sa/<service account>`, empty for other paths."""
        return self._workload()[1]

    def _workload(self) -> tuple[str, str]:
        match self.path.split("/"):
            case ["", "ns", namespace, "sa", service_account]:
                return namespace, service_account
            case _:
                return "", ""

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"


def check_trust_domain(text: str) -> str:
    """The name of a trust domain, as it was given; raises `InvalidSpiffeId`."""
    if not text:
        raise InvalidSpiffeId("the trust domain is empty")
    if len(text) > MAX_TRUST_DOMAIN:
        raise InvalidSpiffeId(f"a trust domain has at most {MAX_TRUST_DOMAIN} octets, this one has {len(text)}")
    if not _TRUST_DOMAIN.match(text):
        raise InvalidSpiffeId(
            f"trust domain {_shown(text)}: use lower-case letters, digits, '.', '-' and '_', and no port or user"
        )
    return text


def _check_path(rest: str, text: str) -> None:
    """`rest` is what follows the first slash."""
    for segment in rest.split("/"):
        if not segment:
            raise InvalidSpiffeId(f"{_shown(text)} has an empty path segment or a slash at its end")
        if segment in (".", ".."):
            raise InvalidSpiffeId(f"{_shown(text)} has a relative path segment {segment!r}")
        if not _SEGMENT.match(segment):
            raise InvalidSpiffeId(
                f"path segment {_shown(segment)}: use letters, digits, '.', '-' and '_' (no percent-encoding, no query)"
            )


def _shown(text: str) -> str:
    """Foreign text for a message: escaped, so that it cannot break a log line, and of bounded length."""
    return ascii(text if len(text) <= 120 else text[:117] + "...")
