"""ServiceEntry: services outside Kubernetes.

Source: istio/api networking/v1alpha3/service_entry.proto and workload_entry.proto, and the rules of the CRD.
"""

# mypy: disable-error-code=explicit-any

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from meshd.config.address import ip_version, is_block, is_host
from meshd.config.model import ClusterResource, Fault, Labels, Many, Model, Unsupported, repeats
from meshd.config.scalars import Port, UInt32

_PORT_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?\Z")


class EntryPort(Model):
    """A port of the service, and where it is found when that differs."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    number: Port
    protocol: Annotated[str, Field(max_length=256)] = ""
    target_port: Port | None = None


class WorkloadEntry(Model):
    """One endpoint of the service."""

    address: Annotated[str, Field(max_length=256)] = ""
    ports: Annotated[dict[str, Port], Field(max_length=128)] = Field(default_factory=dict)
    labels: Annotated[Labels, Field(max_length=256)] = Field(default_factory=dict)
    network: Annotated[object, Unsupported("endpoints in another network need a gateway, which a sidecar has not")] = (
        None
    )
    locality: Annotated[str, Field(max_length=2048)] = ""
    weight: UInt32 | None = None
    service_account: Annotated[str, Field(max_length=253)] = ""

    def faults(self) -> Iterator[Fault]:
        """The address is one, and port names are names."""
        if not self.address and not self.has("network"):
            yield Fault(("address",), "required: an IP address, a host name or unix:///path", rule="missing")
        elif self.address.startswith("unix://"):
            path = self.address.removeprefix("unix://")
            if path[:1] not in ("/", "@") or path.endswith("/"):
                yield Fault(("address",), "expected unix:// and the absolute path of a socket, or @name")
            if self.has("ports"):
                yield Fault(("ports",), "a unix socket has no ports", "remove 'ports'")
        elif self.address and not ip_version(self.address) and not is_host(self.address):
            yield Fault(("address",), "expected an IP address, a host name or unix:///path")
        for name in self.ports:
            if len(name) >= 63 or not _PORT_NAME.match(name):
                yield Fault(
                    ("ports", name), "expected a port name: letters, digits and '-' inside, under 63 characters"
                )


class ServiceEntrySpec(Model):
    """Host names and how their endpoints are found."""

    hosts: Annotated[Many[str], Field(min_length=1, max_length=256)]
    addresses: Annotated[Many[Annotated[str, Field(max_length=64)]], Field(max_length=256)] = ()
    ports: Annotated[Many[EntryPort], Field(max_length=256)] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: Annotated[Many[WorkloadEntry], Field(max_length=4096)] = ()
    workload_selector: Annotated[object, Unsupported("list the endpoints, or use a Service")] = None
    export_to: Many[str] = ()
    subject_alt_names: Many[str] = ()

    def faults(self) -> Iterator[Fault]:
        """What the resolution allows."""
        for place, host in enumerate(self.hosts):
            if not is_host(host.removeprefix("*.")):
                yield Fault(("hosts", place), "expected a DNS name, '*.' allowed in front; a bare '*' is not")
        yield from repeats(("ports",), (port.name for port in self.ports), "name")
        yield from repeats(("ports",), (port.number for port in self.ports), "number")
        for place, address in enumerate(self.addresses):
            if not is_block(address):
                yield Fault(("addresses", place), "expected an IP address or a CIDR block")
            elif "/" in address and self.resolution not in ("NONE", "STATIC"):
                yield Fault(("addresses", place), "a CIDR block needs resolution NONE or STATIC")
        if self.resolution == "NONE" and self.has("endpoints"):
            yield Fault(("endpoints",), "resolution NONE has no endpoints", "set 'resolution' to 'STATIC' or 'DNS'")
        if self.resolution == "DNS_ROUND_ROBIN" and len(self.endpoints) > 1:
            yield Fault(("endpoints", 1), "DNS_ROUND_ROBIN takes one endpoint", "did you mean resolution 'DNS'?")
        for place, endpoint in enumerate(self.endpoints):
            if self.resolution == "STATIC" and _is_name(endpoint.address):
                yield Fault(("endpoints", place, "address"), "resolution STATIC needs an IP address", "use 'DNS'")


def _is_name(address: str) -> bool:
    return bool(address) and not address.startswith("unix://") and not ip_version(address)


class ServiceEntry(ClusterResource):
    """A service that no Service document describes."""

    spec: ServiceEntrySpec
