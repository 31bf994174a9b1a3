from meshd.identity.errors import IdentityError


def test_the_code_is_for_logs_and_the_text_for_people():
    error = IdentityError("expired", "the certificate expired")
    assert error.code == "expired"
    assert str(error) == "the certificate expired"
    assert repr(error) == "<IdentityError expired: the certificate expired>"
