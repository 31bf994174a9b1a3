"""Proxy: the bootstrap of one sidecar. Complete with defaults; `null` turns a part off.

Paths are as written here; loading resolves relative ones from the document's folder.
"""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from meshd.config.address import Address
from meshd.config.backend_policy import Warm
from meshd.config.downstream import Downstream
from meshd.config.extension_provider import ExtensionProvider
from meshd.config.header_limits import RequestHeaders, ResponseHeaders
from meshd.config.model import DNS_NAME, Fault, Many, Model, Nullable, Resource, repeats
from meshd.config.scalars import Duration, Fraction, HttpUrl, ListenAddress, TargetAddress, Text, TrustDomain, refusal

Protocol = Literal["auto", "http", "http2", "grpc", "tcp", "tls"]

MAX_WORKERS = 256


def _workers(value: object) -> int | str:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_WORKERS):
        assert isinstance(value, (int, str))
        return value
    raise refusal(f"expected a number from 1 to {MAX_WORKERS}, or 'auto' for one a core")


Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(_workers),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}, {"const": "auto"}]}),
]


class Identity(Model):
    """Who this sidecar is: spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT.

    `certificates` is a folder with tls.crt, tls.key, ca.crt and perhaps crl.pem.
    """

    trust_domain: TrustDomain = "cluster.local"
    service_account: Annotated[str | None, Field(max_length=253, pattern=DNS_NAME)] = None
    certificates: Text


class WarmApp(Warm):
    """As in a BackendPolicy, but none unless asked for: an app that serves one connection at a time would be frozen."""

    min: Annotated[int, Field(ge=0, le=1000)] = 0


class Inbound(Model):
    """A listener for callers, and the app behind it.

    `quickAck` acknowledges a part of a response of the app at once (TCP_QUICKACK): an app that writes head and body
    separately may wait for that, which costs 40 ms a request.
    """

    listen: ListenAddress
    app: TargetAddress
    protocol: Protocol = "auto"
    quick_ack: bool = True
    warm: WarmApp = Field(default_factory=WarmApp)


class Outbound(Model):
    """A listener for the app's own calls: to the destination that a request names, or to one service always.

    `quickAck` acknowledges a part of a request of the app at once, as it does for responses where it is inbound.
    """

    listen: ListenAddress
    service: TargetAddress | None = None
    protocol: Protocol = "auto"
    quick_ack: bool = True

    def faults(self) -> Iterator[Fault]:
        """A service has a name."""
        if self.service is not None and self.service.is_unix:
            yield Fault(("service",), "expected name:port, name.namespace:port or host:port")


class Admin(Model):
    """The listener for operators."""

    listen: ListenAddress = Field(default_factory=lambda: Address("127.0.0.1", 15000))


class Otlp(Model):
    """The OpenTelemetry collector: traces and metrics, and with `logs` each line of the access log as a log record.
    Without an endpoint (`otlp: {}`) it is the one on this machine."""

    endpoint: HttpUrl = "http://127.0.0.1:4318"
    protocol: Literal["http/protobuf", "grpc"] = "http/protobuf"
    logs: bool = False


class AccessLog(Model):
    """One line an exchange; "-" is standard output."""

    path: Text = "-"
    format: Literal["json", "text"] = "json"


class Telemetry(Model):
    """What is told to whom. Nothing is exported until a collector is named."""

    otlp: Annotated[Otlp | None, Nullable()] = None
    sampling: Fraction = 1.0
    access_log: Annotated[AccessLog | None, Nullable()] = Field(default_factory=AccessLog)
    istio_metrics: bool = False  # /metrics has the same numbers under Istio's names as well

    @property
    def keeps_all(self) -> bool:
        """Whether somebody wants a record of every exchange."""
        return self.access_log is not None or (self.otlp is not None and self.otlp.logs)


class PathNormalization(Model):
    """How paths are written when they go on, and what policies judge. DEFAULT: byte for byte as they came, and policies
    judge every reading. The others are those of Istio's MeshConfig: what is normalized goes on and is judged. Strict:
    paths that may be read in several ways are refused with 400."""

    normalization: Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] = "DEFAULT"
    strict: bool = False

    def faults(self) -> Iterator[Fault]:
        """Strict paths have one form."""
        if self.strict and self.normalization != "DEFAULT":
            yield Fault(("normalization",), "strict paths have one normal form", "remove 'normalization' or 'strict'")


class ProxySpec(Model):
    """Everything about one sidecar that is not a policy.

    `numTrustedProxies` is how many proxies in front of this sidecar add to X-Forwarded-For what is true: the client is
    the address that stands so many from the right. 0: none does, the client is who connects.
    """

    workers: Workers = 1
    drain: Duration = 10.0
    identity: Annotated[Identity | None, Nullable()] = None
    inbound: Annotated[Many[Inbound], Field(max_length=256)] = ()
    outbound: Annotated[Many[Outbound], Field(max_length=256)] = ()
    admin: Annotated[Admin | None, Nullable()] = Field(default_factory=Admin)
    downstream: Downstream = Field(default_factory=Downstream)
    max_request_headers: RequestHeaders = Field(default_factory=RequestHeaders)
    max_response_headers: ResponseHeaders = Field(default_factory=ResponseHeaders)
    policies: Many[Text] = ("policies/",)
    telemetry: Annotated[Telemetry | None, Nullable()] = Field(default_factory=Telemetry)
    num_trusted_proxies: Annotated[int | None, Field(ge=0, le=64)] = None
    path_normalization: PathNormalization = Field(default_factory=PathNormalization)
    extension_providers: Annotated[Many[ExtensionProvider], Field(max_length=64)] = ()

    def faults(self) -> Iterator[Fault]:
        """There is something to listen on, and no address twice."""
        if not self.inbound and not self.outbound:
            yield Fault(("inbound",), "expected at least one inbound app or one outbound listener", rule="missing")
        yield from repeats(("extensionProviders",), (each.name for each in self.extension_providers), "name")
        first: dict[Address, str] = {}
        listens = [(("inbound", place, "listen"), each.listen) for place, each in enumerate(self.inbound)]
        listens += [(("outbound", place, "listen"), each.listen) for place, each in enumerate(self.outbound)]
        if self.admin is not None:
            listens.append((("admin", 0, "listen"), self.admin.listen))
        for (name, place, leaf), address in listens:
            label = name if name == "admin" else f"{name}[{place}]"
            taken = first.setdefault(address, label)
            if taken != label and (address.port or address.is_unix):
                at = (name, leaf) if name == "admin" else (name, place, leaf)
                yield Fault(at, f"expected an address of its own: {taken} listens on {address}", rule="duplicate")


class Proxy(Resource):
    """The bootstrap of one sidecar."""

    spec: ProxySpec

    @property
    def service_account(self) -> str:
        """The account of the identity: the proxy's name unless the document says another."""
        identity = self.spec.identity
        return (identity.service_account if identity else None) or self.metadata.name

    @property
    def spiffe_id(self) -> str:
        """The identity this sidecar must prove; empty without one."""
        identity = self.spec.identity
        if identity is None:
            return ""
        return f"spiffe://{identity.trust_domain}/ns/{self.metadata.namespace}/sa/{self.service_account}"
