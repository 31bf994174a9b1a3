"""Response flags: Envoy's short names, the field's lingua franca for "what happened to this request".

Source: envoyproxy/envoy docs/root/configuration/observability/access_log/usage.rst. AD, ED and RB are meshd's own,
because Envoy has no flag for an authorization denial, a refused early request or an exhausted retry budget.
"""

from typing import Final

NO_HEALTHY_UPSTREAM: Final = "UH"
CONNECTION_FAILURE: Final = "UF"
CONNECTION_TERMINATION: Final = "UC"
REMOTE_RESET: Final = "UR"
REQUEST_TIMEOUT: Final = "UT"
OVERFLOW: Final = "UO"
RETRY_LIMIT: Final = "URX"
NO_ROUTE: Final = "NR"
NO_CLUSTER: Final = "NC"
DOWNSTREAM_GONE: Final = "DC"
RATE_LIMITED: Final = "RL"
EXTERNAL_AUTHORIZER: Final = "UAEX"
STREAM_IDLE: Final = "SI"
DOWNSTREAM_PROTOCOL: Final = "DPE"
UPSTREAM_PROTOCOL: Final = "UPE"
DNS_FAILED: Final = "DF"
DELAY_INJECTED: Final = "DI"
FAULT_INJECTED: Final = "FI"
OVERLOAD: Final = "OM"
DENIED: Final = "AD"
EARLY_DATA_REJECTED: Final = "ED"
RETRY_BUDGET: Final = "RB"
LOOP: Final = "LOOP"
INTERNAL: Final = "INT"
