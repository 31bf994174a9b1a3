"""Service and EndpointSlice: what exists. The same documents serve in a cluster and as static files.

Source: Kubernetes core/v1 and discovery.k8s.io/v1 types. Fields about load balancers, node ports and DNS are the
cluster's business: accepted, and of no effect on a sidecar.
"""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from meshd.config.address import ip_version, is_host
from meshd.config.model import ClusterResource, Fault, Labels, Many, Model, Nullable, repeats
from meshd.config.scalars import Count, ObjectName, Port, refusal


def _int_or_name(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return value
    if isinstance(value, str) and 0 < len(value) <= 63:
        return value
    raise refusal("expected a port from 1 to 65535, or the name of a port")


IntOrName = Annotated[
    int | str,
    PlainValidator(_int_or_name),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string"}]}),
]
ACCOUNTS_ANNOTATION: Final = "meshd.dev/service-accounts"
Protocol = Literal["TCP", "UDP", "SCTP"]


class ServicePort(Model):
    """One port of a Service. `appProtocol` says what is spoken there; else the name's prefix does (`http-`)."""

    name: str = ""
    port: Port
    target_port: IntOrName | None = None
    protocol: Protocol = "TCP"
    app_protocol: str | None = None
    node_port: Annotated[int | None, Field(ge=0, le=65535)] = None


class ServiceSpec(Model):
    """Ports, and which pods are behind them."""

    ports: Annotated[Many[ServicePort], Field(max_length=1000)] = ()
    selector: Annotated[Labels | None, Nullable()] = None
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    external_name: str = ""
    cluster_ip: Annotated[str, Field(alias="clusterIP")] = ""
    cluster_ips: Annotated[Many[str], Field(alias="clusterIPs")] = ()
    external_ips: Annotated[Many[str], Field(alias="externalIPs")] = ()
    publish_not_ready_addresses: bool = False
    session_affinity: Literal["None", "ClientIP"] = "None"
    session_affinity_config: object = None
    traffic_distribution: str | None = None
    internal_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    external_traffic_policy: Literal["", "Cluster", "Local"] = ""
    health_check_node_port: Count = 0
    ip_families: Many[Literal["IPv4", "IPv6"]] = ()
    ip_family_policy: str | None = None
    allocate_load_balancer_node_ports: bool | None = None
    load_balancer_ip: Annotated[str, Field(alias="loadBalancerIP")] = ""
    load_balancer_class: str | None = None
    load_balancer_source_ranges: Many[str] = ()

    def faults(self) -> Iterator[Fault]:
        """Ports are told apart; an external name needs the name."""
        yield from repeats(("ports",), ((port.port, port.protocol) for port in self.ports), "port")
        yield from repeats(("ports",), (port.name for port in self.ports if port.name), "name")
        if len(self.ports) > 1:
            for place, port in enumerate(self.ports):
                if not port.name:
                    yield Fault(("ports", place, "name"), "required when there are several ports", rule="missing")
        if self.type == "ExternalName" and not self.external_name:
            yield Fault(("externalName",), "required when type is 'ExternalName'", rule="missing")
        elif self.external_name and not is_host(self.external_name):
            yield Fault(("externalName",), "expected a DNS name")


class Service(ClusterResource):
    """A name that traffic is sent to."""

    spec: ServiceSpec

    @property
    def accounts(self) -> tuple[str, ...]:
        """Under which its endpoints run, as its annotation says; none where it does not."""
        listed = self.metadata.annotations.get(ACCOUNTS_ANNOTATION, "").split(",")
        return tuple(name.strip() for name in listed if name.strip())


class EndpointConditions(Model):
    """Unset means unknown; unknown readiness counts as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Model):
    """One backend; its addresses are alternatives of each other."""

    addresses: Annotated[Many[str], Field(min_length=1, max_length=100)]
    conditions: EndpointConditions = Field(default_factory=EndpointConditions)
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: object = None
    target_ref: object = None
    deprecated_topology: Labels = Field(default_factory=dict)


class EndpointPort(Model):
    """A port that every endpoint of the slice has. No port means: all ports."""

    name: str = ""
    port: Annotated[Port | None, Nullable()] = None
    protocol: Protocol = "TCP"
    app_protocol: str | None = None


class EndpointSlice(ClusterResource):
    """Endpoints of the Service that the label kubernetes.io/service-name names."""

    address_type: Literal["IPv4", "IPv6", "FQDN"]
    endpoints: Annotated[Many[SliceEndpoint], Field(max_length=1000)] = ()
    ports: Annotated[Many[EndpointPort] | None, Field(max_length=100), Nullable()] = None

    @property
    def service(self) -> ObjectName:
        """The name of the Service, in the same namespace; empty when the label is missing."""
        return self.metadata.labels.get("kubernetes.io/service-name", "")

    def faults(self) -> Iterator[Fault]:
        """Addresses are of the type that the slice declares, and the slice belongs to a Service."""
        if not self.service:
            at = ("metadata", "labels")
            yield Fault(at, "required: the label kubernetes.io/service-name with the Service's name", rule="missing")
        version = {"IPv4": 4, "IPv6": 6, "FQDN": 0}[self.address_type]
        for index, endpoint in enumerate(self.endpoints):
            for place, address in enumerate(endpoint.addresses):
                if ip_version(address) != version:
                    yield Fault(
                        ("endpoints", index, "addresses", place), f"expected an address of type {self.address_type}"
                    )
