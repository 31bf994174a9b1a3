"""Replacing the root of a running mesh, without a moment in which two members do not accept each other.

start    a new root is trusted everywhere beside the old one, and issues nothing
finish   the new root issues; the old one is still trusted. Then leaves are renewed, at once or as they come due
retire   the old root is trusted no more, and its key is destroyed

Each step is refused while a leaf that is known would be cut off by it. What is copied to other machines can not be
seen from here: `force` is for whoever has looked there.
"""

import os
from pathlib import Path

from meshd.identity.bundle import read_certificates
from meshd.identity.ca import ROOT_TTL, Authority, CaError, intermediate_key, make_authority, root_key
from meshd.identity.ca_index import Index, Role, Root
from meshd.identity.credentials import ROOTS
from meshd.identity.minting import Life


def start(authority: Authority, now: float, *, ttl: float = ROOT_TTL) -> tuple[Path, ...]:
    """Make a new root and have it trusted; the folders that were told. Raises `CaError`."""
    index = authority.index
    if index.root(Role.NEXT):
        raise CaError("a rotation is under way already; go on with rotate-root finish")
    if index.root(Role.PREVIOUS):
        raise CaError("the root before is still trusted; end that rotation with rotate-root retire first")
    intermediate = index.issuing.intermediate is not None
    life = Life.from_now(now, ttl)
    root = make_authority(authority.home, index.trust_domain, life, intermediate=intermediate, role=Role.NEXT)
    authority.save(_with(index, root), now)
    return authority.publish(now)


def finish(authority: Authority, now: float, *, force: bool = False) -> tuple[Path, ...]:
    """Let the new root issue; the folders that were told. Raises `CaError`."""
    index = authority.index
    new = index.root(Role.NEXT)
    if new is None:
        raise CaError("no rotation is under way; begin with rotate-root start")
    unaware = [folder for folder in authority.folders() if not _trusts(folder, new)]
    if unaware and not force:
        raise CaError(f"these do not trust the new root yet: {_listed(unaware)}; bring them up to date with publish")
    old = index.issuing
    authority.save(index.with_roots(**{new.name: Role.ISSUING, old.name: Role.PREVIOUS}), now)
    return authority.publish(now)


def retire(authority: Authority, now: float, *, force: bool = False) -> tuple[Path, ...]:
    """Trust the old root no more and destroy its key; the folders that were told. Raises `CaError`."""
    index = authority.index
    old = index.root(Role.PREVIOUS)
    if old is None:
        step = "finish" if index.root(Role.NEXT) else "start"
        raise CaError(f"no old root is left to retire; the next step of a rotation is rotate-root {step}")
    stranded = _stranded(authority, old, now)
    if stranded and not force:
        raise CaError(f"these still live by the old root: {_listed(stranded)}; renew them first (renew --all)")
    authority.save(index.with_roots(**{old.name: None}), now)
    for name in (root_key(old.name), intermediate_key(old.name)):
        (authority.home / name).unlink(missing_ok=True)
    return authority.publish(now)


def _with(index: Index, root: Root) -> Index:
    return Index(index.trust_domain, (*index.roots, root), index.issued, index.crl_number)


def _trusts(folder: Path, root: Root) -> bool:
    try:
        return root.certificate in read_certificates((folder / ROOTS).read_bytes())
    except (OSError, ValueError):
        return False


def _stranded(authority: Authority, old: Root, now: float) -> list[Path]:
    """Folders whose leaf in use is of the old root. One that is gone from here may live on elsewhere, so it counts."""
    found = []
    latest = {leaf.folder: leaf for leaf in authority.index.issued}
    for leaf in latest.values():
        folder = Path(os.path.normpath(authority.home / leaf.folder))
        in_use = authority.leaf_in(folder) or leaf
        if in_use.root == old.name and in_use.is_live(now):
            found.append(folder)
    return found


def _listed(folders: list[Path]) -> str:
    shown = ", ".join(map(str, folders[:5]))
    return shown if len(folders) <= 5 else f"{shown} and {len(folders) - 5} more"
