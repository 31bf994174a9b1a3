"""Delays and aborts that a policy asks for, between two sidecars."""

import contextlib
import http.client
import time

FAULTS = """
    apiVersion: meshd.dev/v1alpha1
    kind: FaultPolicy
    metadata: {name: faults, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: fault-test}]
      rules:
        - {header: x-chaos, match: {path: {value: /both}}, delay: {fixed: 300ms}, abort: {status: 418}}
        - {match: {path: {value: /abort}}, abort: {status: 503}}
        - {match: {path: {value: /grpc}}, abort: {grpcStatus: 8}}
        - {match: {path: {value: /slow}}, delay: {fixed: 300ms}}
        - {match: {path: {value: /asleep}}, delay: {fixed: 1h}}
        - {match: {path: {value: /never}}, abort: {status: 500, percentage: 0}}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: impatient, namespace: default}
    spec: {targetRefs: [{kind: ServiceEntry, name: fault-test}], timeout: 200ms}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: FaultPolicy
    metadata: {name: at-the-server, namespace: default}
    spec:
      selector: {matchLabels: {app: server}}
      rules: [{match: {path: {value: /at-the-server}}, abort: {status: 507}}]
"""
POLICIES = {"fault.test": FAULTS}


def test_an_abort_never_reaches_the_app(pair):
    answer = pair.call("fault.test", "/abort")
    assert answer.status == 503
    assert 'error=proxy_internal_response; details="FI fault_filter_abort"' in answer.fields["proxy-status"]
    assert not pair.origin.take()
    assert pair.logged("/abort")["response_flags"] == "FI"


def test_a_grpc_caller_gets_a_grpc_status(pair):
    answer = pair.call("fault.test", "/grpc", "POST", b"", content_type="application/grpc")
    assert (answer.status, answer.fields["grpc-status"]) == (200, "8")
    assert pair.call("fault.test", "/grpc").status == 429


def test_a_delay_comes_before_the_time_out_of_the_route_begins(pair):
    answer = pair.call("fault.test", "/slow")
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.seconds >= 0.3
    entry = pair.logged("/slow")
    assert entry["response_flags"] == "DI"
    assert entry["facts"] == {"fault": "default/faults rule 3"}


def test_only_requests_with_the_trigger_are_touched(pair):
    assert pair.call("fault.test", "/both").status == 200
    answer = pair.call("fault.test", "/both?2", x_chaos="1")
    assert answer.status == 418
    assert answer.seconds >= 0.3
    assert pair.logged("/both?2")["response_flags"] == "DI,FI"


def test_a_share_of_nothing_is_nothing(pair):
    assert pair.call("fault.test", "/never").status == 200


def test_the_server_s_sidecar_has_faults_of_its_own(pair):
    answer = pair.call("fault.test", "/at-the-server")
    assert answer.status == 507
    assert answer.fields["proxy-status"].startswith('"server.default"; error=proxy_internal_response')


def test_nobody_is_held_who_has_left(pair):
    with contextlib.closing(http.client.HTTPConnection(pair.address, timeout=20)) as connection:
        connection.request("GET", "/asleep", headers={"host": "fault.test"})
        time.sleep(0.05)
    assert pair.logged("/asleep")["response_flags"] == "DI,DC"
