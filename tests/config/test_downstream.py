import pytest
from pydantic import ValidationError

from meshd.config.downstream import Downstream


def test_bounds_have_defaults_that_need_no_document():
    found = Downstream()
    assert found.max_connections is None
    assert (found.handshake_timeout, found.request_headers_timeout, found.idle_timeout) == (10, 10, 3600)


def test_bounds_can_be_set():
    found = Downstream.model_validate({"maxConnections": 200, "idleTimeout": "5m"})
    assert (found.max_connections, found.idle_timeout) == (200, 300)


@pytest.mark.parametrize(
    "wrong", [{"maxConnections": 0}, {"maxConnections": 10**7}, {"idleTimeout": "0s"}, {"handshakeTimeout": 10}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        Downstream.model_validate(wrong)
