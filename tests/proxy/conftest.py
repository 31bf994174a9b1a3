"""What tests of a client's HTTP/2 connection share."""

import pytest
from support.http2 import LIBRARIES

from meshd.http.h2_server import ServerSession
from meshd.proxy import downstream_h2


@pytest.fixture(params=LIBRARIES, ids=repr)
def each_library(request, monkeypatch):
    """Connections speak through one library, then through the other."""

    class Session(ServerSession):
        def __init__(self, offer, heads, limits):
            super().__init__(offer, heads, limits, library=request.param)

    monkeypatch.setattr(downstream_h2, "ServerSession", Session)
