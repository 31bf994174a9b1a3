"""Whether a request would be sent again: the data path's own decision, of a fresh budget."""

from support.worlds import inbound, outbound, service, world_of

from meshd.explain.retry import would_retry

WORLD = world_of(service("web"))


def decide(question, failure):
    return would_retry(WORLD, question, WORLD.ask(question), failure)


def test_the_reason_is_the_data_path_s():
    assert decide(outbound(), "503").reason == "retried: gateway-error"
    assert decide(outbound(method="POST"), "reset").reason == "POST is not safe to repeat"
    assert decide(outbound(headers=(("idempotency-key", "1"),), method="POST"), "reset").retry


def test_a_request_that_is_not_sent_is_not_sent_again():
    assert decide(outbound(authority="gone"), "reset") is None
    assert decide(inbound(caller=""), "reset") is None
