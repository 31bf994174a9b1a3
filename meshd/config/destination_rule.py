"""DestinationRule: how a destination is treated once a route has chosen it.

Source: istio/api networking/v1alpha3/destination_rule.proto.
"""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator

from pydantic import Field

from meshd.config.model import ClusterResource, Fault, Labels, Many, Model, repeats
from meshd.config.references import WorkloadSelector
from meshd.config.scalars import Text
from meshd.config.traffic_policy import TrafficPolicy


class Subset(Model):
    """A named part of the endpoints, by labels. What its policy leaves out, the destination's says."""

    name: Text
    labels: Labels = Field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(Model):
    """The policy of a host and of parts of it. `host` is a short name, `name.namespace`, or fully qualified."""

    host: Text
    traffic_policy: TrafficPolicy | None = None
    subsets: Many[Subset] = ()
    export_to: Many[str] = ()
    workload_selector: WorkloadSelector | None = None

    def faults(self) -> Iterator[Fault]:
        """Each subset once."""
        yield from repeats(("subsets",), (subset.name for subset in self.subsets), "name")


class DestinationRule(ClusterResource):
    """How a destination is treated."""

    spec: DestinationRuleSpec
