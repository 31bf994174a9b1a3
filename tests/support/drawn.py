"""Policies, routes and requests drawn by hypothesis from few names, so that they often meet."""

from hypothesis import strategies as st
from support.worlds import STOREFRONT, STRANGER, allow, mtls, world_of

from meshd.explain.question import Question

PRINCIPALS = [each.removeprefix("spiffe://") for each in (STOREFRONT, STRANGER)]
PATHS = ["/", "/a", "/a/b", "/a*", "*b"]


def some(*values, most=2):
    """A list of one or a few of these."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


sources = st.fixed_dictionaries(
    {},
    optional={
        "principals": some(*PRINCIPALS, "*", "td/ns/shop/*"),
        "notPrincipals": some(*PRINCIPALS),
        "namespaces": some("shop", "oth*"),
    },
)
operations = st.fixed_dictionaries(
    {},
    optional={
        "methods": some("GET", "PUT", "DEL*"),
        "notMethods": some("GET", "PUT"),
        "paths": some(*PATHS),
        "notPaths": some(*PATHS),
        "hosts": some("reviews.shop", "*.shop"),
    },
)
conditions = st.sampled_from(
    [{"key": "request.headers[x-k]", "values": ["1"]}, {"key": "request.headers[x-k]", "notValues": ["1", "2"]}]
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(sources.map(lambda each: {"source": each}), min_size=1, max_size=2),
        "to": st.lists(operations.map(lambda each: {"operation": each}), min_size=1, max_size=2),
        "when": st.lists(conditions, min_size=1, max_size=1),
    },
)
policies = st.lists(
    st.tuples(st.sampled_from(["ALLOW", "ALLOW", "DENY", "AUDIT"]), st.lists(rules, min_size=1, max_size=10)),
    max_size=3,
)
matches = st.fixed_dictionaries(
    {},
    optional={
        "path": st.builds(
            lambda kind, value: {"type": kind, "value": value},
            st.sampled_from(["Exact", "PathPrefix", "RegularExpression"]),
            st.sampled_from(["/", "/a", "/a/b"]),
        ),
        "method": st.sampled_from(["GET", "PUT"]),
        "headers": st.just([{"name": "x-k", "value": "1"}]),
        "queryParams": st.just([{"name": "q", "value": "1"}]),
    },
)
backends = st.lists(
    st.builds(
        lambda name, weight: {"name": name, "port": 80, "weight": weight},
        st.sampled_from(["v1", "v2"]),
        st.sampled_from([0, 1, 9]),
    ),
    max_size=2,
)
routes = st.lists(
    st.builds(
        lambda many, to: {"matches": many, "backendRefs": to}, st.lists(matches, min_size=1, max_size=2), backends
    ),
    min_size=1,
    max_size=4,
)
headers = st.lists(st.tuples(st.just("x-k"), st.sampled_from(["1", "2"])), max_size=2).map(tuple)
inbounds = st.builds(
    Question,
    method=st.sampled_from(["GET", "PUT", "DELETE"]),
    target=st.sampled_from(["/", "/a", "/a/b", "/c?q=1", "/.."]),
    authority=st.sampled_from(["reviews.shop", "other"]),
    caller=st.sampled_from([STOREFRONT, STRANGER, ""]),
    headers=headers,
)
outbounds = st.builds(
    Question,
    method=st.sampled_from(["GET", "PUT"]),
    target=st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/c?q=1"]),
    authority=st.sampled_from(["web", "web.shop:80", "v1", "elsewhere"]),
    headers=headers,
    inbound=st.just(False),
)


def guarded(drawn, mode):
    """The sidecar under drawn policies and a mode of mutual TLS."""
    texts = [allow(*each, action=action, name=f"p{place}") for place, (action, each) in enumerate(drawn)]
    return world_of(mtls(mode), *texts)
