"""Logs and their replay: what a log says of requests under one world, asked of another."""

from support.logs import log_line
from support.tokens import key_set, public, token
from support.worlds import DOOR, custom, inbound, resource, service

from meshd.explain.replay import Replay

WEB = (service("web"), service("v1"), service("v2"))


def replayed(world, *lines):
    replay = Replay(world)
    fates = [replay.add(line) for line in lines]
    replay.finish()
    return replay, fates


def counted(world, lines, since=frozenset()):
    replay = Replay(world, since)
    for line in lines:
        replay.add(line)
    replay.finish()
    return replay


def policy(kind, *rules, name="f", **spec):
    return resource(kind, "meshd.dev/v1alpha1", name, {"rules": list(rules)} | spec)


def fault(*rules, **spec):
    return policy("FaultPolicy", *rules, **spec)


def limit(*rules, **spec):
    return policy("RateLimitPolicy", *rules, **spec)


def at_times(world, *times, ask=inbound):
    """What is logged of one request at each of these seconds."""
    return [log_line(world, ask(), at=at) for at in times]


KEYS = key_set(public("ES256", kid="k", alg="ES256"))
TOKENS = {"issuer": "i", "jwks": KEYS}


def bearing(**claims):
    text = token(header={"kid": "k"}, **({"exp": None, "iss": "i", "sub": "alice"} | claims))
    return inbound(headers=(("authorization", f"Bearer {text}"),))


ADMIN, GUEST, NOBODY = bearing(role="admin"), bearing(role="guest"), inbound()
OUTSIDE = {"extensionProviders": [DOOR, DOOR | {"name": "gate"}]}
SOME = custom({"to": [{"operation": {"methods": ["GET"]}}]})
