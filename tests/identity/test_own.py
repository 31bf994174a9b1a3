"""Our own certificate, as our peers would see it."""

import time

from support.ca import MeshCA

from meshd.identity.own import own_fault


def test_a_good_one_has_no_fault_and_an_expired_one_says_when(tmp_path):
    ca = MeshCA(tmp_path)
    credentials = ca.load(ca.issue("web"))
    now = time.time()
    assert own_fault(credentials, now) == ""
    assert own_fault(credentials, credentials.not_after + 1).startswith("expired at 20")
