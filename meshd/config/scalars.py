"""Small types that many documents share: durations, sizes, ports, names. `WORDS` says each pattern for people.

Patterns of Gateway API types are those of its CRDs (apis/v1/shared_types.go, httproute_types.go).
"""

import re
from typing import Annotated, Final, TypeAlias

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from meshd.config.address import Address
from meshd.config.duration import GATEWAY, GO, format_duration, parse_duration, parse_gateway_duration
from meshd.config.model import DNS_LABEL, DNS_NAME

_GROUP: Final = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_KIND: Final = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"
_WILDCARD_HOST: Final = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_FIELD_NAME: Final = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$"
_HEADER_VALUE: Final = r"^[!-~]+([\t ]?[!-~]+)*$"
URL_PATH: Final = r"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$"
_RATE_KEY: Final = r"^(none|identity|header:[A-Za-z0-9!#$%&'*+\-.^_\x60|~]{1,256})$"
_SPLIT_KEY: Final = r"^(request-id|principal|(header|cookie):[A-Za-z0-9!#$%&'*+\-.^_\x60|~]{1,256})$"
_TRUST_DOMAIN: Final = r"^[a-z0-9._-]+$"  # SPIFFE: lower case, no port, no percent
_HTTP_URL: Final = r"^https?://[^\s/]+(/[^\s]*)?$"
_CLAIM_HEADER: Final = r"^[-_A-Za-z0-9]+$"
_ORIGIN: Final = r"(^\*$)|(^(http(s)?):\/\/(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)"
_SIZE = re.compile(r"([0-9]{1,15})(\.[0-9]{1,9})?(|k|M|G|T|Ki|Mi|Gi|Ti)\Z")
_SCALE: Final = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}

WORDS: Final = {
    DNS_LABEL: "lower-case letters, digits and '-', no '-' at an end",
    DNS_NAME: "a DNS name in lower case, without a wildcard",
    _GROUP: "an API group such as 'networking.istio.io', or '' for the core group",
    _KIND: "a kind such as 'Service'",
    _WILDCARD_HOST: "a DNS name in lower case, '*.' allowed in front",
    _FIELD_NAME: "a header name: letters, digits and !#$%&'*+-.^_`|~",
    _HEADER_VALUE: "a header value of visible characters, single spaces or tabs between",
    _SPLIT_KEY: "'request-id', 'principal', 'header:NAME' or 'cookie:NAME'",
    _RATE_KEY: "'none', 'identity' or 'header:NAME'",
    _TRUST_DOMAIN: "a trust domain such as 'cluster.local': lower-case letters, digits and '.-_'",
    _HTTP_URL: "a URL that begins with http:// or https://",
    _CLAIM_HEADER: "a header name of letters, digits, '-' and '_'",
    _ORIGIN: "an origin such as 'https://example.com', '*.' allowed before the name, or '*'",
    URL_PATH: "a path of URL characters, others percent-encoded",
}


def refusal(expected: str) -> PydanticCustomError:
    """What a validator raises: the sentence after "got ..."."""
    return PydanticCustomError("refused", "{expected}", {"expected": expected})


def _gateway_duration(value: object) -> float:
    seconds = parse_gateway_duration(value) if isinstance(value, str) else None
    if seconds is None:
        raise refusal("expected a duration such as '10s', '1m30s' or '500ms' (h, m, s, ms; whole numbers)")
    return seconds


def _duration(value: object) -> float:
    seconds = parse_duration(value) if isinstance(value, str) else None
    if seconds is None:
        raise refusal("expected a duration such as '10s', '1.5s' or '500ms'")
    return seconds


def _long_duration(value: object) -> float:
    seconds = _duration(value)
    if seconds < 0.001:
        raise refusal("expected a duration of at least 1ms")
    return seconds


def parse_size(value: object) -> int | None:
    """Octets of `64Ki`, `1.5Mi`, `1M` or a whole number; None when it is not a size."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 2**63 else None
    found = _SIZE.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    whole, fraction, unit = found.groups()
    size = int(whole) * _SCALE[unit] + round(float(fraction or "0") * _SCALE[unit])
    return size if size < 2**63 else None


def _size(value: object) -> int:
    size = parse_size(value)
    if size is None:
        raise refusal("expected a size such as '64Ki', '1Mi' or a number of octets")
    return size


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    address = Address.parse(value) if isinstance(value, str) else None
    if address is None:
        raise refusal("expected host:port, [IPv6]:port or unix:/path, such as '127.0.0.1:8080'")
    return address


def _target(value: object) -> Address:
    address = _address(value)
    if not address.is_unix and address.port == 0:
        raise refusal("expected a port from 1 to 65535: only a listener may leave the choice to the system with 0")
    return address


_WRITTEN = PlainSerializer(format_duration, return_type=str)
_SPELT = PlainSerializer(str, return_type=str)

# Seconds. Gateway API's dialect, Go's with zero, Go's from a millisecond up (as Istio's CRDs demand).
GatewayDuration: TypeAlias = Annotated[
    float, PlainValidator(_gateway_duration), _WRITTEN, WithJsonSchema({"type": "string", "pattern": GATEWAY})
]
Duration: TypeAlias = Annotated[
    float, PlainValidator(_duration), _WRITTEN, WithJsonSchema({"type": "string", "pattern": GO})
]
LongDuration: TypeAlias = Annotated[
    float, PlainValidator(_long_duration), _WRITTEN, WithJsonSchema({"type": "string", "pattern": GO})
]
Size: TypeAlias = Annotated[
    int,
    PlainValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE.pattern}]}),
]
ListenAddress: TypeAlias = Annotated[Address, PlainValidator(_address), _SPELT, WithJsonSchema({"type": "string"})]
TargetAddress: TypeAlias = Annotated[Address, PlainValidator(_target), _SPELT, WithJsonSchema({"type": "string"})]

Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Int32: TypeAlias = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
UInt32: TypeAlias = Annotated[int, Field(ge=0, le=2**32 - 1)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=2**31 - 1)]
Positive: TypeAlias = Annotated[int, Field(ge=1, le=2**31 - 1)]
Percent: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]
StatusCode: TypeAlias = Annotated[int, Field(ge=100, le=599)]

Group: TypeAlias = Annotated[str, Field(max_length=253, pattern=_GROUP)]
KindName: TypeAlias = Annotated[str, Field(min_length=1, max_length=63, pattern=_KIND)]
ObjectName: TypeAlias = Annotated[str, Field(min_length=1, max_length=253)]
Namespace: TypeAlias = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
SectionName: TypeAlias = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_NAME)]
Hostname: TypeAlias = Annotated[str, Field(min_length=1, max_length=253, pattern=_WILDCARD_HOST)]
PreciseHostname: TypeAlias = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_NAME)]
HeaderName: TypeAlias = Annotated[str, Field(min_length=1, max_length=256, pattern=_FIELD_NAME)]
HeaderValue: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096, pattern=_HEADER_VALUE)]
UrlPath: TypeAlias = Annotated[str, Field(max_length=1024, pattern=URL_PATH)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]
SplitKey: TypeAlias = Annotated[str, Field(pattern=_SPLIT_KEY)]
RateKey: TypeAlias = Annotated[str, Field(pattern=_RATE_KEY)]
TrustDomain: TypeAlias = Annotated[str, Field(min_length=1, max_length=255, pattern=_TRUST_DOMAIN)]
HttpUrl: TypeAlias = Annotated[str, Field(max_length=2048, pattern=_HTTP_URL)]
ClaimHeader: TypeAlias = Annotated[str, Field(min_length=1, pattern=_CLAIM_HEADER)]
Origin: TypeAlias = Annotated[str, Field(min_length=1, max_length=253, pattern=_ORIGIN)]
