"""How large heads may be, as the Proxy document says it."""

import pytest
from pydantic import ValidationError

from meshd.config.header_limits import LEAST, MOST, RequestHeaders, ResponseHeaders
from meshd.http.limits import REQUEST_LIMITS, RESPONSE_LIMITS


def test_the_defaults_are_those_of_the_codecs():
    asked, answered = RequestHeaders(), ResponseHeaders()
    assert (asked.size, asked.line, asked.count) == (REQUEST_LIMITS.head, REQUEST_LIMITS.line, REQUEST_LIMITS.fields)
    assert (answered.size, answered.count) == (RESPONSE_LIMITS.head, RESPONSE_LIMITS.fields)


@pytest.mark.parametrize("model", [RequestHeaders, ResponseHeaders])
@pytest.mark.parametrize("given", [{"size": "128Ki"}, {"size": MOST, "count": 1000}, {"count": 1}])
def test_sizes_are_read_as_sizes(model, given):
    assert model.model_validate(given).count == given.get("count", 100)


@pytest.mark.parametrize("model", [RequestHeaders, ResponseHeaders])
@pytest.mark.parametrize("given", [{"count": 0}, {"count": 1001}, {"size": "much"}])
def test_what_is_no_limit_is_refused(model, given):
    with pytest.raises(ValidationError):
        model.model_validate(given)


@pytest.mark.parametrize("model", [RequestHeaders, ResponseHeaders])
@pytest.mark.parametrize("size", [LEAST - 1, MOST + 1, "2Mi"])
def test_a_size_that_is_not_sensible_is_a_fault(model, size):
    assert ("size",) in [fault.at for fault in model.model_validate({"size": size}).faults()]


@pytest.mark.parametrize("given", [{"line": 100}, {"line": "64Ki"}, {"size": "4Ki"}])
def test_a_line_is_part_of_the_head(given):
    (fault,) = RequestHeaders.model_validate(given).faults()
    assert fault.at == ("line",)
    assert not list(RequestHeaders.model_validate({"size": "4Ki", "line": "4Ki"}).faults())
