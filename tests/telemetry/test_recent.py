from support.exchanges import make_denied, make_exchange, make_record

from meshd.telemetry.recent import Recent


def numbered(number, *, path=b"/"):
    exchange = make_exchange(path=path)
    exchange.request_id = b"id-%d" % number
    exchange.trace.trace_id = number
    return make_record(exchange)


def ids(records):
    return [record.request_id for record in records]


def test_the_newest_come_first_and_the_oldest_go():
    recent = Recent(count=3)
    recent.add(numbered(number) for number in range(5))
    assert ids(recent.latest()) == ["id-4", "id-3", "id-2"]
    assert ids(recent.latest(1)) == ["id-4"]


def test_octets_are_bounded():
    recent = Recent(count=1000, octets=100_000)
    recent.add(numbered(number, path=b"/" + b"x" * 30_000) for number in range(20))
    assert ids(recent.latest()) == ["id-19", "id-18", "id-17"]
    assert recent.statistics()["octets"] <= 100_000


def test_one_that_is_larger_than_the_ring_is_kept_alone():
    recent = Recent(octets=1000)
    recent.add([numbered(1), numbered(2)])
    assert ids(recent.latest()) == ["id-2"]


def test_by_request_id_and_by_trace_id():
    recent = Recent()
    recent.add(numbered(number) for number in (1, 255, 1))
    assert ids(recent.by_request_id("id-1")) == ["id-1", "id-1"]
    assert ids(recent.by_trace_id("ff")) == ["id-255"]
    assert ids(recent.by_trace_id("00000000000000FF")) == ["id-255"]
    assert recent.by_trace_id("not hex") == recent.by_request_id("id-9") == []


def test_traffic_does_not_wash_refusals_away():
    recent = Recent(count=10)
    denied = make_record(make_denied())
    recent.add([denied, *(numbered(number) for number in range(50))])
    assert recent.denied() == [denied]
    assert recent.by_request_id(denied.request_id) == [denied]
    assert denied not in recent.latest()


def test_a_refusal_is_found_once():
    recent = Recent()
    denied = make_record(make_denied())
    recent.add([denied])
    assert recent.by_request_id(denied.request_id) == [denied]
    assert repr(recent) == "<Recent 1 records, 1 denied>"
    assert recent.statistics()["denied"] == 1
