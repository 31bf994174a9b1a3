"""Name constraints: which names a CA certificate lets the certificates below it bear.

Source: RFC 5280, sections 4.2.1.10 and 6.1.4 (g). A kind of name that is constrained but not understood here is refused
when a certificate below bears a name of that kind: fail closed.
"""

import ipaddress
from collections.abc import Iterable

from cryptography import x509

from meshd.identity.errors import IdentityError
from meshd.identity.svid import find_extension


def check_name_constraints(issuer: x509.Certificate, below: Iterable[x509.Certificate]) -> None:
    """Raises `IdentityError` if a certificate below `issuer` has a name that `issuer` does not let it have."""
    extension = find_extension(issuer, x509.NameConstraints)
    if extension is None:
        return
    permitted = extension.value.permitted_subtrees or []
    excluded = extension.value.excluded_subtrees or []
    for certificate in below:
        for name in _names(certificate):
            if any(_within(name, tree) for tree in excluded if type(tree) is type(name)):
                raise IdentityError("inside-excluded-names", f"{_shown(name)} is excluded by the certificate's issuer")
            same = [tree for tree in permitted if type(tree) is type(name)]
            if same and not any(_within(name, tree) for tree in same):
                raise IdentityError("outside-name-constraints", f"{_shown(name)} is not permitted by its issuer")


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    extension = find_extension(certificate, x509.SubjectAlternativeName)
    names: list[x509.GeneralName] = [] if extension is None else list(extension.value)
    if list(certificate.subject):
        names.append(x509.DirectoryName(certificate.subject))
    return names


def _within(name: x509.GeneralName, tree: x509.GeneralName) -> bool:
    """Both are of the same kind."""
    match name, tree:
        case x509.UniformResourceIdentifier(), x509.UniformResourceIdentifier():
            return _uri_within(name.value, tree.value.lower())
        case x509.DNSName(), x509.DNSName():
            base = tree.value.lower().removeprefix(".")
            return not base or name.value.lower() == base or name.value.lower().endswith("." + base)
        case x509.DirectoryName(), x509.DirectoryName():
            base_rdns = list(tree.value.rdns)
            return list(name.value.rdns)[: len(base_rdns)] == base_rdns
        case x509.IPAddress(value=address), x509.IPAddress(value=network):
            return (
                isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
                and isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network)
                and address in network
            )
        case _:
            pass
    raise IdentityError("unsupported-name-constraint", f"a constraint on {type(tree).__name__} can not be checked")


def _uri_within(uri: str, tree: str) -> bool:
    """A tree with a dot in front means every host below; without, exactly that host."""
    host = uri.partition("://")[2].partition("/")[0].lower()
    return host.endswith(tree) if tree.startswith(".") else host == tree


def _shown(name: x509.GeneralName) -> str:
    return ascii(name.value)[:120]
