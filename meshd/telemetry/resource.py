"""Who sends: the attributes of the resource in the words of the semantic conventions. Knows no SDK.

A pod is known by what the downward API puts into the environment (`DOWNWARD`, as the sidecars of other meshes name it);
OTEL_RESOURCE_ATTRIBUTES adds to all of this and goes before it, save the service's own name.
"""

import os
import platform
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias
from uuid import uuid4

Attributes: TypeAlias = dict[str, str | int]

# Variable → attribute.
DOWNWARD: Final = {
    "POD_NAME": "k8s.pod.name",
    "POD_UID": "k8s.pod.uid",
    "POD_IP": "k8s.pod.ip",
    "POD_NAMESPACE": "k8s.namespace.name",
    "NODE_NAME": "k8s.node.name",
    "CONTAINER_NAME": "k8s.container.name",
    "DEPLOYMENT_NAME": "k8s.deployment.name",
    "CLUSTER_NAME": "k8s.cluster.name",
}
MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm32", "i686": "x86", "ppc64le": "ppc64"}
MACHINE_ID: Final = Path("/etc/machine-id")


def describe_resource(environ: Mapping[str, str]) -> Attributes:
    """The host, this process, the pod. Nothing of the command line: it may hold secrets."""
    machine = platform.machine()
    found: dict[str, str | int | None] = {
        "service.instance.id": str(uuid4()),
        "host.name": socket.gethostname(),
        "host.id": _machine_id(),
        "host.arch": MACHINES.get(machine, machine),
        "os.type": platform.system().lower(),
        "os.version": platform.release(),
        "process.pid": os.getpid(),
        "process.executable.name": Path(sys.executable).name,
        "process.executable.path": sys.executable,
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
    }
    found |= {attribute: environ.get(variable) for variable, attribute in DOWNWARD.items()}
    return {name: value for name, value in found.items() if value}


def _machine_id() -> str:
    """What tells this machine from others that have its name; empty where there is none, as in most containers."""
    try:
        return MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
