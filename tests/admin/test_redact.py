import json

from hypothesis import given
from hypothesis import strategies as st

from meshd.admin.redact import REDACTED, SECRET_NAMES, redact

PEM = "-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\n"


def test_secrets_are_hidden_wherever_they_are():
    config = {
        "spec": {
            "privateKey": "x",
            "ticket_keys": ["a", "b"],
            "headers": [{"name": "Authorization", "value": "Bearer x"}, {"name": "x-tenant", "value": "7"}],
            "inline": [PEM],
            "certificates": "certs/out/orders",
            "secretName": "orders-tls",
            "workers": 1,
            "password": None,
        }
    }
    assert redact(config) == {
        "spec": {
            "privateKey": REDACTED,
            "ticket_keys": REDACTED,
            "headers": [{"name": "Authorization", "value": REDACTED}, {"name": "x-tenant", "value": "7"}],
            "inline": [REDACTED],
            "certificates": "certs/out/orders",
            "secretName": "orders-tls",
            "workers": 1,
            "password": None,
        }
    }


values = st.recursive(
    st.none() | st.integers() | st.just(PEM) | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", *sorted(SECRET_NAMES)]), inner),
    max_leaves=20,
)


@given(values)
def test_no_key_survives_and_the_original_is_untouched(value):
    before = json.dumps(value)
    assert "PRIVATE KEY" not in json.dumps(redact(value))
    assert json.dumps(value) == before
