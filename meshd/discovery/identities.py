"""Whom the endpoints of a service must prove to be, where nobody said it: the convention, and the words for less.

A `serviceAccount` of an endpoint, `subjectAltNames` of an entry or of a DestinationRule, and the annotation
`meshd.dev/service-accounts` of a Service say it. Else the convention holds: the endpoints of a Service run under the
account of the Service's own name, in its namespace; those of a ServiceEntry under any account of its namespace. What
else may answer is written down in a BackendPolicy (`tls.peerIdentity`). An expectation that ends in `/*` means every
SPIFFE ID below.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from meshd.discovery.known_port import KnownPort, Place

PeerIdentity = Literal["serviceAccount", "namespace", "trustDomain"]


def expected_of(known: KnownPort, trust_domain: str, said: PeerIdentity | None) -> frozenset[str]:
    """The SPIFFE IDs that endpoints of this service may have when none is said."""
    domain = f"spiffe://{trust_domain}"
    by_word = {
        "serviceAccount": f"{domain}/ns/{known.namespace}/sa/{known.name}",
        "namespace": f"{domain}/ns/{known.namespace}/sa/*",
        "trustDomain": f"{domain}/*",
    }
    return frozenset({by_word[said or ("serviceAccount" if known.kind == "Service" else "namespace")]})


def identified(places: Iterable[Place], expected: frozenset[str]) -> tuple[Place, ...]:
    """The same places, where each that is dialled with mutual TLS has somebody to be."""
    return tuple(
        replace(place, identities=expected) if place.mutual and not place.identities else place for place in places
    )
