"""The API for operators: what the sidecar knows, drain, log level. Loopback or a unix socket only."""
