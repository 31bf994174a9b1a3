import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.telemetry.redact import SECRET_KEYS, redact_authority, redact_query


@given(st.sampled_from(SECRET_KEYS), st.text("abc123%=/", min_size=1), st.text("ab=", max_size=5))
def test_no_secret_stays(key, secret, before):
    found = redact_query(f"{before}&{key}={secret}&z=1")
    assert found == f"{before}&{key}=REDACTED&z=1"


@pytest.mark.parametrize("query", ["", "a=1&b=2", "signature", "mysig=1", "q=sig%3D1"])
def test_the_rest_stays(query):
    assert redact_query(query) == query


def test_case_does_not_matter_and_semicolons_separate():
    assert redact_query("SIG=1;PassWord=2") == "SIG=REDACTED;PassWord=REDACTED"


def test_user_information_goes():
    assert redact_authority("me:pw@host:80") == "host:80"
    assert redact_authority("host:80") == "host:80"
