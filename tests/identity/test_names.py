import ipaddress

import pytest
from cryptography import x509
from support.svid import common_name, intermediate, make, root

from meshd.identity.errors import IdentityError
from meshd.identity.names import check_name_constraints

TOP = root()
URI, DNS = x509.UniformResourceIdentifier, x509.DNSName
ADDRESS, EMAIL, DIRECTORY = x509.IPAddress, x509.RFC822Name, x509.DirectoryName


def verdict(constraints, **leaf):
    issuer = intermediate(TOP, extra=((constraints, True),))
    try:
        check_name_constraints(issuer.certificate, [make(issuer, **leaf).certificate])
    except IdentityError as error:
        return error.code
    return "good"


def permitted(*names):
    return x509.NameConstraints(names, None)


def excluded(*names):
    return x509.NameConstraints(None, names)


@pytest.mark.parametrize(
    ("constraints", "leaf", "expected"),
    [
        (permitted(URI("mesh.test")), {}, "good"),
        (permitted(URI("MESH.test")), {}, "good"),
        (permitted(URI("other.test"), URI("mesh.test")), {}, "good"),
        (permitted(URI("other.test")), {}, "outside-name-constraints"),
        (permitted(URI(".mesh.test")), {}, "outside-name-constraints"),
        (permitted(URI(".test")), {}, "good"),
        (excluded(URI("mesh.test")), {}, "inside-excluded-names"),
        (excluded(URI("esh.test")), {}, "good"),
        (permitted(DNS("svc")), {"dns": ("a.svc",)}, "good"),
        (permitted(DNS("svc")), {"dns": ("evil.example",)}, "outside-name-constraints"),
        (permitted(DNS("svc")), {"dns": ("asvc",)}, "outside-name-constraints"),
        (permitted(DNS("svc")), {}, "good"),
        (excluded(DNS("svc")), {"dns": ("A.SVC",)}, "inside-excluded-names"),
        (excluded(DNS("")), {"dns": ("a.svc",)}, "inside-excluded-names"),
        (permitted(DIRECTORY(common_name("x"))), {"subject": common_name("x")}, "good"),
        (permitted(DIRECTORY(common_name("x"))), {"subject": common_name("y")}, "outside-name-constraints"),
        (permitted(DIRECTORY(common_name("x"))), {}, "good"),
        (
            permitted(ADDRESS(ipaddress.ip_network("10.0.0.0/8"))),
            {"other_names": (ADDRESS(ipaddress.ip_address("10.1.2.3")),)},
            "good",
        ),
        (
            permitted(ADDRESS(ipaddress.ip_network("10.0.0.0/8"))),
            {"other_names": (ADDRESS(ipaddress.ip_address("11.1.2.3")),)},
            "outside-name-constraints",
        ),
        (permitted(EMAIL("mesh.test")), {}, "good"),
        (permitted(EMAIL("mesh.test")), {"other_names": (EMAIL("a@mesh.test"),)}, "unsupported-name-constraint"),
        (excluded(EMAIL("mesh.test")), {"other_names": (EMAIL("a@b.test"),)}, "unsupported-name-constraint"),
    ],
)
def test_a_name_is_held_against_what_its_issuer_may_vouch_for(constraints, leaf, expected):
    assert verdict(constraints, **leaf) == expected


def test_an_issuer_without_constraints_allows_every_name():
    check_name_constraints(TOP.certificate, [make(TOP, dns=("anything.example",)).certificate])
