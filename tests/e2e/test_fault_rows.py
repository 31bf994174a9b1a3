"""Where each fault case is tested, or why it is not: no row is forgotten, and no test that is named is gone."""

from pathlib import Path

import pytest
from support.shared import cases

ROWS = {row["id"]: row for row in cases("faults.jsonl")}
TESTS = Path(__file__).parents[1]

# By file and test, the rows that it judges.
JUDGED = {
    "e2e/test_fault_cases.py": {
        "fault-refuse": "test_fault_refuse",
        "fault-refuse-one-of-3": "test_fault_refuse_one_of_3",
        "fault-blackhole": "test_fault_blackhole",
        "fault-all-down": "test_fault_all_down_and_start_order",
        "fault-start-order": "test_fault_all_down_and_start_order",
        "fault-accept-then-close": "test_fault_accept_then_close",
        "fault-accept-never-answers": "test_fault_accept_never_answers",
        "fault-rst-before-head": "test_fault_rst_before_head",
        "fault-retry-idempotent": "test_fault_retry_idempotent",
        "fault-rst-mid-head": "test_fault_rst_mid_head",
        "fault-rst-mid-body-cl": "test_fault_rst_mid_body_and_fin",
        "fault-rst-mid-body-chunked": "test_fault_rst_mid_body_and_fin",
        "fault-fin-mid-body": "test_fault_rst_mid_body_and_fin",
        "fault-half-close-upstream": "test_fault_half_close_upstream",
        "fault-early-200": "test_fault_early_200",
        "fault-early-close-upload": "test_fault_early_close_upload",
    },
    "e2e/test_fault_responses.py": {
        "fault-1xx-many": "test_fault_1xx_many",
        "fault-101-unasked": "test_fault_101_unasked",
        "fault-trailers": "test_fault_trailers",
        "fault-no-length": "test_fault_no_length_and_http10",
        "fault-http10": "test_fault_no_length_and_http10",
        "fault-garbage": "test_fault_garbage_and_heads_too_large",
        "fault-head-huge": "test_fault_garbage_and_heads_too_large",
        "fault-head-many": "test_fault_garbage_and_heads_too_large",
        "fault-head-slow": "test_fault_head_slow",
        "fault-body-slow": "test_fault_body_slow",
        "fault-extra-after": "test_fault_extra_after",
        "fault-unsolicited-idle": "test_fault_unsolicited_idle",
    },
    "e2e/test_fault_pool_cases.py": {
        "fault-idle-close-race": "test_fault_idle_close_race",
        "fault-stale-after-restart": "test_fault_stale_after_restart_and_app_restart",
        "fault-app-restart": "test_fault_stale_after_restart_and_app_restart",
        "fault-pool-full": "test_fault_pool_full",
        "fault-pool-leak": "test_fault_pool_leak_and_cross_talk",
        "fault-cross-talk": "test_fault_pool_leak_and_cross_talk",
        "fault-fd-leak": "test_fault_pool_leak_and_cross_talk",
        "fault-cancel-mid": "test_fault_cancel_mid",
        "fault-retry-budget": "test_fault_retry_budget",
        "fault-retry-body": "test_fault_retry_body",
        "fault-retry-deadline": "test_fault_retry_deadline",
        "fault-hedge-cancel": "test_fault_hedge_cancel",
        "fault-slow-upload-reader": "test_fault_slow_upload_reader",
        "fault-slow-reader": "test_fault_slow_reader",
        "fault-pipelining-1000": "test_fault_pipelining_1000",
        "fault-half-close-client": "test_fault_half_close_client",
        "fault-emfile": "test_fault_emfile",
        "fault-slow-headers": "test_fault_slow_headers",
    },
    "e2e/test_fault_reloads.py": {
        "fault-reload-policy": "test_fault_reload_policy",
        "fault-reload-partial": "test_fault_reload_partial_and_bad",
        "fault-reload-bad": "test_fault_reload_partial_and_bad",
        "fault-recursion-deep": "test_fault_recursion_deep",
        "fault-sigterm-load": "test_fault_sigterm_load",
        "fault-sigkill": "test_fault_sigkill",
        "fault-no-secrets": "test_fault_no_secrets",
    },
    "e2e/test_mtls_cases.py": {
        "fault-tls-to-plain": "test_certificates_of_a_server",
        "fault-tls-handshake-flood": "test_a_thousand_halves_of_handshakes_keep_nobody_out",
    },
    "e2e/test_telemetry.py": {"fault-collector-down": "test_traffic_does_not_know_that_the_collector_is_away"},
    "e2e/test_under_load.py": {"fault-reload-ok": "test_nothing_fails_that_must_not"},
    "process/test_supervisor.py": {
        "fault-sigterm-idle": "test_it_serves_and_leaves_at_once_when_idle",
        "fault-sigterm-stuck": "test_a_worker_that_never_leaves_is_killed_at_the_hard_stop",
        "fault-sigterm-twice": "test_a_second_signal_ends_at_once",
        "fault-reload-listener": "test_a_new_listener_serves_before_the_old_one_closes",
        "fault-bind-fail": "test_a_port_in_use_is_one_line_and_nothing_half_started",
        "fault-worker-crash": "test_a_killed_worker_costs_nobody_a_refusal",
        "fault-parent-death": "test_children_die_with_the_supervisor_and_the_port_is_free_again",
    },
    "process/test_fleet.py": {"fault-worker-hang": "test_a_silent_worker_is_killed_once_and_its_siblings_are_not"},
    "net/test_reactor.py": {"fault-trio-nursery-crash": "test_a_crash_is_counted_and_takes_nobody_along"},
    "telemetry/test_access_log.py": {
        "fault-disk-full-log": "test_after_a_full_disk_lines_are_whole_again",
        "fault-log-slow": "test_a_blocked_pipe_blocks_nobody",
        "fault-log-rotate": "test_a_renamed_file_is_followed",
    },
    "telemetry/test_records.py": {"fault-metrics-cardinality": "test_series_past_the_cap_share_one"},
    "admin/test_server.py": {
        "fault-metrics-scrape-storm": "test_a_storm_of_scrapes_is_served",
        "fault-admin-exposed": "test_a_rebound_name_is_refused",
    },
}
HTTP_2 = "about HTTP/2 between the sidecars or behind them"
TCP = "about TCP that is not HTTP, which is not carried yet"
NAMES = "needs a name server of its own: names are asked of the system's resolver"
NOT_HERE = {
    **dict.fromkeys(("fault-goaway", "fault-h2-rst-refused", "fault-h2-window-leak"), HTTP_2),
    **dict.fromkeys(("fault-h2-settings-shrink", "fault-invalid-isolated"), HTTP_2),
    **dict.fromkeys(("fault-tcp-half-close", "fault-tcp-server-first", "fault-tcp-rst", "fault-tcp-idle"), TCP),
    **dict.fromkeys(("fault-dns-fail", "fault-dns-flap", "fault-dns-slow", "fault-dns-1000"), NAMES),
    "fault-port-exhaustion": "needs a network namespace with a port range of its own",
    "fault-enomem-cgroup": "needs a control group",
    "fault-cpu-throttle": "needs a control group",
    "fault-conn-flood": "the bound is 10 000 connections, more than a test may open",
    "fault-slow-body": "ends with the idle time of an exchange, 300 s, which no document changes",
    "fault-stopped-reader": "ends with the idle time of an exchange, 300 s, which no document changes",
    "fault-clock-back": "needs a clock of its own; every time-out takes the monotonic clock as an argument",
    "fault-clock-ntp-cert": "needs a clock of its own; certificates are judged by a wall clock that tests pass in",
    "fault-gc-pause": "a measurement, not a verdict: tests/bench",
    "fault-random-fuzz": "24 hours; the codecs have properties under hypothesis in tests/http",
    "fault-task-leak": "the soak of every cancellation; the pool has a state machine in tests/upstream",
    "fault-no-control": "24 hours without a source: files that cannot be read are in test_mtls_changes.py",
    "fault-health-detail": "about each of the other rows: /ready is asked in test_mtls_changes.py",
    "fault-dep-advisory": "a job of the build: the lowest versions are in pyproject.toml",
}


def test_every_row_is_somewhere():
    judged = [row for rows in JUDGED.values() for row in rows]
    assert len(judged) == len(set(judged))
    assert not set(judged) & NOT_HERE.keys()
    assert set(judged) | NOT_HERE.keys() == ROWS.keys()


@pytest.mark.parametrize("file", JUDGED)
def test_the_tests_are_there(file):
    text = (TESTS / file).read_text()
    assert not [name for name in JUDGED[file].values() if f"def {name}(" not in text]
