"""What is told of a handshake travels in records."""

import marshal
from typing import get_args

from support.exchanges import SERVER_SESSION, SESSION

from meshd.core.tls_session import TlsSession


def test_a_session_has_the_parts_that_its_type_says_and_can_be_marshalled():
    for session in (SESSION, SERVER_SESSION):
        assert tuple(type(each) for each in session) == get_args(TlsSession)
        assert marshal.loads(marshal.dumps(session)) == session
