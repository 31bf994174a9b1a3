"""What the documents say of names that metrics are told by: the Service that we stand for, and whose each host is."""

from collections.abc import Callable

from meshd.process.start import Accepted
from meshd.telemetry.istio import Services


class KnownServices:
    """Read from the documents once a generation, when somebody asks."""

    __slots__ = ("_accepted", "_found", "_generation")

    def __init__(self, accepted: Callable[[], Accepted]) -> None:
        self._accepted = accepted
        self._generation = -1
        self._found = Services()

    def __call__(self) -> Services:
        """Those of the generation that is served."""
        accepted = self._accepted()
        if accepted.generation != self._generation:
            self._found = _read(accepted)
            self._generation = accepted.generation
        return self._found

    def __repr__(self) -> str:
        return f"<KnownServices of generation {self._generation}>"


def _read(accepted: Accepted) -> Services:
    metadata = accepted.proxy.metadata
    labels = metadata.labels.items()
    entries: dict[str, str] = {}
    for entry in accepted.documents.service_entries:
        entries |= {host.lower(): entry.model.namespace for host in entry.model.spec.hosts}
    own = ""
    for each in accepted.documents.services:
        selector = each.model.spec.selector
        if selector and each.model.namespace == metadata.namespace and selector.items() <= labels:
            own = own or each.model.name
    return Services(own, entries)
