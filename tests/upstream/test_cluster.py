"""A cluster: who is picked, what is learnt of whom, and what survives when its endpoints change."""

from random import Random

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.connections import FakeConnection, FakeDialler, refused
from support.endpoints import make_endpoints, tally
from support.requests import request

from meshd.core import flags
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.errors import DownstreamError, Resend, UpstreamError
from meshd.core.exchange import Attempt
from meshd.net import wait
from meshd.upstream.cluster import Cluster, ClusterSettings
from meshd.upstream.outlier import OutlierPolicy
from meshd.upstream.peak_ewma import DEFAULT_RTT
from meshd.upstream.pool import PoolSettings

LAZY = PoolSettings(warm=0)
DENIED = UpstreamError(502, flags.CONNECTION_TERMINATION, "reset", retry=Resend.IF_SAFE)


def make_cluster(endpoints, dialler=None, **given):
    settings = ClusterSettings(**{"balancer": "RANDOM", "pool": LAZY, **given})
    return Cluster("reviews.default:80", endpoints, dialler or FakeDialler(), settings, Random(1))


def observe(cluster, endpoint, now, status=200, error=None, *, seconds=0.01, grpc_status=None):
    """One attempt that ended `now`."""
    attempt = Attempt(endpoint, now - seconds)
    attempt.grpc_status = grpc_status
    attempt.ended, attempt.status = now, 0 if error else status
    cluster.observe(attempt, error)


def eject(cluster, endpoint, now):
    while endpoint.ejected_until <= now:
        observe(cluster, endpoint, now, 500)


def picks(cluster, now, tried=(), count=200):
    return {cluster.pick(now, key, tried) for key in range(count)}


# -- picking -----------------------------------------------------------------------------------------------------------


def test_nobody_one_and_many():
    assert make_cluster(()).pick(1.0, 0, ()) is None
    one = make_endpoints(1)
    assert make_cluster(one).pick(1.0, 0, one) is one[0]
    many = make_endpoints(1, 1, 1)
    assert picks(make_cluster(many), 1.0) == set(many)


@given(st.integers(2, 6), st.data())
def test_one_that_was_not_tried_is_preferred(count, data):
    endpoints = make_endpoints(*[1] * count)
    cluster = make_cluster(endpoints)
    tried = tuple(data.draw(st.lists(st.sampled_from(endpoints), max_size=2 * count)))
    fresh = set(endpoints) - set(tried)
    assert picks(cluster, 1.0, tried) == (fresh or set(endpoints))


def test_an_ejected_one_comes_back_by_time_alone():
    endpoints = make_endpoints(1, 1, 1)
    cluster = make_cluster(endpoints)
    eject(cluster, endpoints[0], 100.0)
    assert picks(cluster, 100.0) == picks(cluster, 129.9) == set(endpoints[1:])
    assert picks(cluster, 129.9, endpoints[1:2]) == {endpoints[2]}
    assert picks(cluster, 129.9, endpoints[1:]) == set(endpoints[1:])  # rather again than the ejected
    assert picks(cluster, 130.0) == set(endpoints)


def test_a_session_asks_whether_its_endpoint_serves():
    first, second = make_endpoints(1, 1)
    cluster = make_cluster((first, second))
    assert cluster.serves(first, 1.0)
    eject(cluster, first, 1.0)
    assert not cluster.serves(first, 1.0)
    assert cluster.serves(second, 1.0)
    assert cluster.serves(first, first.ejected_until)
    cluster.update([second])
    assert not cluster.serves(first, first.ejected_until)


def test_with_nobody_in_service_everybody_is():
    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints)
    for endpoint in endpoints:
        endpoint.ejected_until = 50.0
    assert picks(cluster, 1.0) == set(endpoints)


async def test_one_that_cannot_be_dialled_is_left_out_until_it_can(autojump_clock):
    endpoints = make_endpoints(1, 1)
    dialler = FakeDialler(seconds=1.0)
    cluster = make_cluster(endpoints, dialler)
    assert picks(cluster, wait.now()) == set(endpoints)
    dialler.errors = [refused(), refused()]
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await cluster.pool(endpoints[0]).acquire(wait.now())
    assert picks(cluster, wait.now()) == {endpoints[1]}
    await trio.sleep(1.0)
    assert picks(cluster, wait.now()) == set(endpoints)


async def test_one_without_its_first_warm_connection_is_left_out():
    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints, pool=PoolSettings(), warm_plain=1)
    assert picks(cluster, 1.0) == set(endpoints)  # nobody has one yet
    await cluster.pool(endpoints[1]).fill()
    assert picks(cluster, 1.0) == {endpoints[1]}
    await cluster.fill()
    assert picks(cluster, 1.0) == set(endpoints)


def test_the_same_candidates_are_the_same_object():
    seen = []

    class Recorder:
        def update(self, endpoints):
            pass

        def pick(self, candidates, now, key):
            seen.append(candidates)
            return candidates[0]

    endpoints = make_endpoints(1, 1, 1)
    cluster = make_cluster(endpoints)
    cluster._balancer = Recorder()
    for now in (1.0, 2.0):
        cluster.pick(now, 0, ())
    eject(cluster, endpoints[0], 3.0)
    for now in (3.0, 4.0):
        cluster.pick(now, 0, ())
    first, second, third, fourth = seen
    assert first is second is endpoints
    assert third is fourth == endpoints[1:]


def test_a_new_endpoint_was_sent_everything_until_its_first_answer():
    endpoints = make_endpoints(1, 1, 1, 1)
    cluster = make_cluster(endpoints[:3], balancer="PEAK_EWMA")
    for _ in range(3):
        for endpoint in endpoints[:3]:
            observe(cluster, endpoint, 100.0, seconds=0.005)
    cluster.update(endpoints)
    counts = tally([cluster.pick(100.0, 0, ()) for _ in range(400)], endpoints)
    assert counts[3] == 0  # 5 ms are known of the others, and 30 ms assumed of it
    assert endpoints[3].ewma == DEFAULT_RTT
    for endpoint in endpoints[:3]:
        observe(cluster, endpoint, 160.0, seconds=0.005)
    assert tally([cluster.pick(160.0, 0, ()) for _ in range(400)], endpoints)[3] > 100  # that has faded by now


# -- learning ----------------------------------------------------------------------------------------------------------


def test_an_answer_tells_how_fast_and_forgives():
    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints)
    for _ in range(4):
        observe(cluster, endpoints[0], 10.0, 503)
    assert endpoints[0].failures == 4
    observe(cluster, endpoints[0], 10.0, 200, seconds=0.5)
    assert (endpoints[0].failures, endpoints[0].ewma) == (0, 0.5)
    for _ in range(4):
        observe(cluster, endpoints[0], 10.0, 503)
    assert cluster.ejections == 0
    observe(cluster, endpoints[0], 10.0, 503)
    assert (cluster.ejections, endpoints[0].ejected_until) == (1, 40.0)


@pytest.mark.parametrize(
    "error",
    [
        DownstreamError(0, flags.DOWNSTREAM_GONE, "left"),
        UpstreamError(503, flags.OVERFLOW, "full", retry=Resend.UNSENT),
        UpstreamError(502, flags.CONNECTION_TERMINATION, "idle", retry=Resend.REUSED),
    ],
)
def test_what_is_not_its_fault_teaches_nothing(error):
    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints)
    for _ in range(20):
        observe(cluster, endpoints[0], 10.0, error=error, seconds=3.0)
    assert (endpoints[0].failures, endpoints[0].ewma, cluster.ejections) == (0, 0.0, 0)


@pytest.mark.parametrize(("grpc_status", "ejections"), [(14, 1), (13, 1), (0, 0), (5, 0), (None, 0)])
def test_one_that_answers_in_grpc_that_it_fails_is_ejected(grpc_status, ejections):
    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints)
    for _ in range(5):
        observe(cluster, endpoints[0], 10.0, grpc_status=grpc_status)
    assert cluster.ejections == ejections


def test_failing_fast_makes_nobody_look_fast():
    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints)
    observe(cluster, endpoints[0], 10.0, seconds=0.2)
    observe(cluster, endpoints[0], 60.0, error=DENIED, seconds=0.001)
    assert endpoints[0].ewma == pytest.approx(0.2)


class EveryEvent:
    """A naive account: remembers every event of every endpoint and every ejection, and counts."""

    def __init__(self, count, policy):
        self.policy = policy
        self.events = [[] for _ in range(count)]  # since the last success; an "ejected" among the failures
        self.until = [0.0] * count
        self.steps = [0] * count

    def observe(self, number, failed, now):
        events, policy = self.events[number], self.policy
        if not failed:
            events.clear()
            return
        events.append("failed")
        due = events.count("failed") >= policy.consecutive_5xx_errors or "ejected" in events
        out = sum(until > now for until in self.until)
        hosts = len(self.until)
        allowed = out == 0 or (out + 1) * 100 <= hosts * policy.max_ejection_percent
        if due and self.until[number] <= now and hosts - out > 1 and allowed:
            good = int((now - self.until[number]) / policy.interval)
            self.steps[number] = max(0, self.steps[number] - good) + 1
            self.until[number] = now + min(policy.base_ejection_time * self.steps[number], policy.max_ejection_time)
            events.append("ejected")


@given(
    st.integers(2, 6),
    st.integers(1, 4),
    st.sampled_from([10, 34, 50, 100]),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([True, True, True, False]), st.integers(0, 8)), max_size=80),
)
def test_ejections_agree_with_the_list_of_all_events(count, limit, percent, events):
    policy = OutlierPolicy(
        limit, interval=10.0, base_ejection_time=4.0, max_ejection_time=12.0, max_ejection_percent=percent
    )
    endpoints = make_endpoints(*[1] * count)
    cluster, naive, now = make_cluster(endpoints, outlier=policy), EveryEvent(count, policy), 100.0
    for choice, failed, pause in events:
        now += pause
        number = choice % count
        observe(cluster, endpoints[number], now, 500 if failed else 200)
        naive.observe(number, failed, now)
        assert [endpoint.ejected_until for endpoint in endpoints] == naive.until
        serving = {endpoint for endpoint in endpoints if endpoint.ejected_until <= now}
        assert serving
        assert picks(cluster, now, count=5) <= serving


# -- change ------------------------------------------------------------------------------------------------------------


async def test_who_stays_keeps_connections_and_what_was_learnt(autojump_clock):
    dialler = FakeDialler()
    before = make_endpoints(1, 1)
    cluster = make_cluster(before, dialler, warm_plain=1)
    pool = cluster.pool(before[0])
    pool.release(await pool.acquire(wait.now()), wait.now(), reusable=True)
    observe(cluster, before[0], 100.0, 503)
    same, new = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.9", 80)
    cluster.update([same, new])
    assert cluster.endpoints == (before[0], new)
    assert cluster.pool(before[0]) is pool
    assert pool.take(wait.now()) is dialler.made[0]
    for _ in range(4):
        observe(cluster, before[0], 100.0, 503)
    assert cluster.ejections == 1


async def test_who_leaves_ends_what_is_under_way_and_is_forgotten(autojump_clock):
    dialler = FakeDialler()
    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints, dialler)
    pool = cluster.pool(endpoints[0])
    connection = await pool.acquire(wait.now())
    cluster.update(endpoints[1:])
    cluster.sweep(wait.now())
    assert cluster.pool(endpoints[0]) is pool  # the exchange gives its connection back here
    assert not connection.closed
    pool.release(connection, wait.now(), reusable=True)
    assert connection.closed
    cluster.sweep(wait.now())
    assert cluster.pool(endpoints[0]) is not pool
    assert picks(cluster, 1.0) == {endpoints[1]}


async def test_an_exchange_that_picked_just_before_still_gets_a_connection():
    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints)
    cluster.update(endpoints[1:])
    cluster.sweep(wait.now())
    pool = cluster.pool(endpoints[0])
    connection = await pool.acquire(wait.now())
    pool.release(connection, wait.now(), reusable=True)
    assert connection.closed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "10.0.0.2"),
        ("port", 81),
        ("weight", 2),
        ("tls", Tls.MUTUAL),
        ("identities", frozenset({"spiffe://cluster.local/ns/a/sa/b"})),
        ("server_name", "reviews"),
        ("labels", {"version": "v2"}),
        ("zone", "b"),
    ],
)
def test_what_differs_in_anything_is_another_endpoint(field, value):
    before, after = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.1", 80)
    cluster = make_cluster([before])
    setattr(after, field, value)
    cluster.update([after])
    assert cluster.endpoints == (after,)
    cluster.update([before])
    assert cluster.endpoints == (before,)


def test_the_same_place_twice_is_two_endpoints():
    cluster = make_cluster(())
    twins = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.1", 80)
    cluster.update(twins)
    assert len(set(cluster.endpoints)) == 2


async def test_a_closed_cluster_keeps_nothing():
    dialler = FakeDialler()
    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints, dialler, pool=PoolSettings(), warm_plain=2)
    await cluster.fill()
    assert dialler.begun == 4
    cluster.close()
    assert dialler.open == []


async def test_it_tells_how_it_is(autojump_clock):
    endpoints = make_endpoints(1, 3)
    cluster = make_cluster(endpoints)
    await cluster.pool(endpoints[0]).acquire(wait.now())
    eject(cluster, endpoints[1], wait.now())
    told = cluster.statistics()
    assert (told["balancer"], told["ejections"], told["budget"].requests) == ("RANDOM", 1, 0)
    first, second = told["endpoints"]
    assert (first["address"], first["leased"], first["dialled"], first["ejected"]) == ("10.0.0.1:80", 1, 1, False)
    assert (second["weight"], second["failures"], second["ejected"], second["held"]) == (3, 5, True, False)
    assert repr(cluster) == "<Cluster reviews.default:80 2 endpoints>"


# -- which protocol ----------------------------------------------------------------------------------------------------

GRPC = [("content-type", "application/grpc")]


def asking(*, h2=True, upgrade=None, headers=()):
    head = request(headers=headers)
    head.protocol = b"h2" if h2 else b"http/1.1"
    head.upgrade = upgrade
    return head


@pytest.mark.parametrize(
    ("protocol", "tls", "head", "http2"),
    [
        ("auto", Tls.PLAIN, asking(h2=False), False),
        ("auto", Tls.PLAIN, asking(), False),  # an app behind a port of no declared protocol
        ("auto", Tls.PLAIN, asking(headers=GRPC), True),  # which knows nothing else
        ("auto", Tls.MUTUAL, asking(h2=False), False),
        ("auto", Tls.MUTUAL, asking(), True),  # between sidecars what the client speaks
        ("auto", Tls.MUTUAL, asking(upgrade=b"websocket"), False),
        ("http1", Tls.MUTUAL, asking(headers=GRPC), False),
        ("http2", Tls.PLAIN, asking(h2=False), True),
        ("http2", Tls.PLAIN, asking(upgrade=b"websocket"), True),
        ("http2", Tls.MUTUAL, asking(h2=False, upgrade=b"websocket"), False),
    ],
)
async def test_the_protocol_that_a_request_needs(protocol, tls, head, http2):
    spoken = []

    async def connect(endpoint, *, http2=False):
        spoken.append(http2)
        return FakeConnection()

    cluster = make_cluster([Endpoint("10.0.0.1", 80, tls=tls)], connect, protocol=protocol)
    pool = cluster.pool(cluster.endpoints[0], head)
    await pool.acquire(wait.now())
    assert spoken == [http2]
    assert cluster.pool(cluster.endpoints[0], head) is pool


async def test_whoever_leaves_or_is_not_trusted_any_more_loses_connections_of_both_protocols():
    dialler = FakeDialler()

    async def connect(endpoint, *, http2=False):
        return await dialler(endpoint)

    endpoints = make_endpoints(1, 1)
    cluster = make_cluster(endpoints, connect)
    for endpoint in endpoints:
        for head in (None, asking(headers=GRPC)):
            pool = cluster.pool(endpoint, head)
            pool.release(await pool.acquire(wait.now()), wait.now(), reusable=True)
    assert len(dialler.open) == 4
    cluster.update(endpoints[1:])
    assert len(dialler.open) == 2
    assert cluster.statistics()["endpoints"][0]["other_protocol"]["idle"] == 1
    cluster.expel(lambda connection: False)
    assert dialler.open == []


async def test_an_exchange_of_the_other_protocol_that_picked_just_before_still_gets_a_connection():
    endpoints = make_endpoints(1, 1)
    dialler = FakeDialler()

    async def connect(endpoint, *, http2=False):
        return await dialler(endpoint)

    cluster = make_cluster(endpoints, connect)
    cluster.update(endpoints[1:])
    cluster.sweep(wait.now())
    pool = cluster.pool(endpoints[0], asking(headers=GRPC))
    connection = await pool.acquire(wait.now())
    pool.release(connection, wait.now(), reusable=True)
    assert connection.closed


async def test_a_connection_that_ends_is_told_of_with_its_age(autojump_clock):
    cluster = make_cluster(make_endpoints(1))
    told = []
    pool = cluster.pool(cluster.endpoints[0])
    first, second = await pool.acquire(wait.now()), await pool.acquire(wait.now())
    assert cluster.connections() == (2, 0)
    pool.release(first, wait.now(), reusable=False)  # nobody listens yet
    cluster.parted = lambda name, seconds: told.append((name, seconds))
    second.born = wait.now() - 7
    pool.release(second, wait.now(), reusable=False)
    ((name, seconds),) = told
    assert (name, round(seconds, 3)) == ("reviews.default:80", 7)
    assert cluster.connections() == (0, 0)
