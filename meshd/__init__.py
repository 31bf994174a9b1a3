"""meshd: a sidecar service-mesh proxy that a person can read."""

__version__ = "0.1.0"
