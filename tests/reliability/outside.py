"""Suites that others wrote for the same problems, and which test of ours answers each of theirs.

Only names and facts are theirs. A value is one or more tests as ``file::function``, with ``[id]``
for one case of it; or a sentence, where the question does not arise here.
"""

from __future__ import annotations

from typing import Final

TOKENS = "tests/auth/test_token_state.py::"
ACCESS = "tests/auth/test_access.py::"
FLIGHTS = "tests/auth/test_flights.py::"
VECTORS = "tests/policies/test_retry_vectors.py::"
HINTS = "tests/policies/test_retry_after.py::"
GRPC = "tests/policies/test_quota_grpc.py::"
POOL = "tests/reliability/test_outside_pool.py::"
CANCELLED = "tests/reliability/test_outside_cancellations.py::"
CANCEL = "tests/transport/test_cancel.py::"
KEEPALIVE = "tests/transport/test_keepalive.py::"
DEADLINES = "tests/transport/test_deadlines.py::"
REPLIES = "tests/transport/test_replies.py::"
RESENDS = "tests/reliability/test_resends.py::"
LANES = "tests/transport/test_lane_ends.py::"

Counterpart = str | tuple[str, ...]

OUTSIDE: Final[dict[str, dict[str, Counterpart]]] = {
    "AWS SDKs, standard retry mode (aws-sdk-go-v2, botocore, smithy-kotlin, smithy-python)": {
        "20 cases with 59 steps": (
            VECTORS + "test_r1_case",
            VECTORS + "test_r1_the_table_is_whole",
        ),
        "presets": VECTORS + "test_r1_the_presets_hold_the_table_s_numbers",
        "shared bucket": VECTORS + "test_r1_shared_bucket",
        "delay curve": VECTORS + "test_r1_delay_curve",
        "moves of the bucket": VECTORS + "test_r1_bucket_moves",
        "10,000 draws are uniform": "tests/policies/test_retry_schedules.py::"
        "test_r1_full_jitter_is_uniform",
        "long polling waits once more": "There is no long polling here.",
    },
    "openai-python, Retry-After": {
        "20 rows, and 13 of our own": (
            HINTS + "test_r4_table",
            HINTS + "test_r4_the_table_is_whole",
        ),
    },
    "gRPC A6, retry throttling": {
        "9, 8, 7, 6 allow a retry, 5 does not": (
            GRPC + "test_r1_the_example_of_a6",
            GRPC + "test_r1_the_quota_allows_the_same_four",
        ),
        "one success, and it is allowed again": GRPC
        + "test_r1_one_success_does_not_buy_a_retry_and_ten_do",
        "negative or unreadable pushback": HINTS + "test_r4_table",
        "the deadline spans all attempts": "tests/policies/test_retry_schedules.py::"
        "test_r5_r6_no_sleep_past_the_deadline_in_10000_schedules",
    },
    "databricks-sdk-py, tests/test_refreshable.py": {
        "test_disable_async_stale_does_not_refresh": ACCESS
        + "test_without_renewal_ahead[test_disable_async_stale_does_not_refresh]",
        "test_disable_async_no_token_does_refresh": ACCESS
        + "test_disable_async_no_token_does_refresh",
        "test_disable_async_no_expiration_does_not_refresh": TOKENS
        + "test_disable_async_no_expiration_does_not_refresh",
        "test_disable_async_fresh_does_not_refresh": ACCESS
        + "test_without_renewal_ahead[test_disable_async_fresh_does_not_refresh]",
        "test_disable_async_expired_does_refresh": ACCESS
        + "test_without_renewal_ahead[test_disable_async_expired_does_refresh]",
        "test_expired_does_refresh": TOKENS + "test_freshness[test_expired_does_refresh]",
        "test_stale_does_refresh_async": (
            TOKENS + "test_freshness[test_stale_does_refresh_async]",
            ACCESS + "test_a1_stale_token_serves_at_once_while_the_login_hangs",
        ),
        "test_no_token_does_refresh": TOKENS + "test_no_token_does_refresh",
        "test_fresh_does_not_refresh": (
            TOKENS + "test_freshness[test_fresh_does_not_refresh]",
            ACCESS + "test_a1_fresh_token_nothing_is_asked",
        ),
        "test_multiple_calls_dont_start_many_threads": ACCESS
        + "test_multiple_calls_dont_start_many_threads",
        "test_repeated_calls_during_async_failure_cooldown_do_not_refresh": TOKENS
        + "test_repeated_calls_during_async_failure_cooldown_do_not_refresh",
        "test_call_after_async_failure_cooldown_refreshes_token_async": TOKENS
        + "test_call_after_async_failure_cooldown_refreshes_token_async",
        "test_late_async_refresh_does_not_overwrite_blocking_refresh": TOKENS
        + "test_late_async_refresh_does_not_overwrite_blocking_refresh",
        "test_late_async_refresh_failure_does_not_backoff_newer_token": TOKENS
        + "test_late_async_refresh_failure_does_not_backoff_newer_token",
        "test_stale_after_is_recomputed_after_blocking_refresh": TOKENS
        + "test_stale_after_is_recomputed_after_blocking_refresh",
        "test_stale_after_computation": TOKENS + "test_stale_after_computation",
    },
    "google-auth, tests/test__refresh_worker.py": {
        "test_thread_count": "A fixture of theirs that is named like a test: 25 threads.",
        "test_invalid_start_refresh": FLIGHTS
        + "test_without_more_threads_the_caller_does_it[test_invalid_start_refresh]",
        "test_start_refresh": FLIGHTS + "test_an_action_runs_behind_the_caller[test_start_refresh]",
        "test_nonblocking_start_refresh": FLIGHTS
        + "test_starting_does_not_wait[test_nonblocking_start_refresh]",
        "test_multiple_refreshes_multiple_workers": FLIGHTS
        + "test_one_at_a_time_however_often_it_is_started"
        "[test_multiple_refreshes_multiple_workers]",
        "test_refresh_error": FLIGHTS
        + "test_errors_are_shared_but_not_the_object[test_refresh_error]",
        "test_refresh_error_call_refresh_again": FLIGHTS
        + "test_an_error_is_not_kept[test_refresh_error_call_refresh_again]",
        "test_refresh_dead_worker": FLIGHTS
        + "test_after_an_error_it_can_be_started_again[test_refresh_dead_worker]",
        # theirs is copied without its lock; a client here says what to do instead
        "test_pickle": "tests/doors/test_bad_inputs.py::"
        "test_a_client_is_not_pickled_and_says_what_to_do",
    },
    "httpcore, tests/test_cancellations.py": {
        "test_connection_pool_timeout_during_request": CANCELLED
        + "test_connection_pool_timeout_during_request",
        "test_connection_pool_timeout_during_response": CANCELLED
        + "test_connection_pool_timeout_during_response",
        "test_h11_timeout_during_request": CANCELLED
        + "test_connection_pool_timeout_during_request",
        "test_h11_timeout_during_response": (
            CANCEL + "test_a_cancelled_call_returns_at_once_and_frees_its_connection",
            CANCEL + "test_a_cancelled_stream_frees_its_connection",
        ),
        # lanes speak HTTP/1.1; over a user's HTTP/2 transport no cancel reaches httpcore (F2)
        "test_h2_timeout_during_handshake": CANCEL
        + "test_T1_F2_cancel_churn_over_the_httpx_adapter",
        "test_h2_timeout_during_request": CANCEL
        + "test_an_abandoned_call_that_still_queues_inside_httpx_is_never_sent",
        "test_h2_timeout_during_response": "tests/transport/test_lifeline.py::"
        "test_a_connection_shared_over_http_2_is_ended_only_at_close",
    },
    "psycopg, tests/pool": {
        "test_queue_size": POOL + "test_queue_size",
        "test_queue_timeout": POOL + "test_queue_timeout",
        "test_dead_client": POOL + "test_dead_client",
        "test_cancellation_in_queue": POOL + "test_cancellation_in_queue",
        "test_cancelled_waiter_assigned_conn_is_reclaimed": POOL
        + "test_cancelled_waiter_assigned_conn_is_reclaimed",
        "test_closed_queue": POOL + "test_closed_queue",
        "test_close_connection_on_pool_close": "tests/transport/test_close.py::"
        "test_T15_aclose_ends_waiting_tasks",
        "test_spike": (
            "tests/transport/test_storm.py::test_threads",
            "tests/transport/test_storm.py::test_tasks",
        ),
        # the opposite on purpose: what was used last is warm, the others may age out
        "test_uniform_use": KEEPALIVE + "test_a_lane_is_used_last_in_first_out",
        "test_jitter": POOL + "test_jitter",
        "test_stats_usage": "tests/telemetry/test_client_stats.py::"
        "test_connections_and_token_are_told",
        "test_del_stops_threads": (
            LANES + "test_the_idle_lanes_of_a_wire_nobody_holds_are_closed",
            RESENDS + "test_an_idle_client_is_no_thread_and_no_task",
        ),
    },
    "urllib3, test_socketlevel.py: TestSocketClosing": {
        "test_recovery_when_server_closes_connection": KEEPALIVE
        + "test_T2_a_fin_on_an_idle_connection_is_noticed_before_it_is_used",
        "test_connection_refused": DEADLINES + "test_input_62_refused_is_known_at_once",
        "test_connection_read_timeout": DEADLINES
        + "test_a_server_that_never_answers_is_a_timeout_and_saw_one_request",
        "test_read_timeout_dont_retry_method_not_in_allowlist": RESENDS
        + "test_R3_no_reply_in_time_is_one_post",
        "test_https_connection_read_timeout": (
            DEADLINES + "test_T3_over_tls_too",
            DEADLINES + "test_a_tls_handshake_that_hangs_ends_at_the_connect_timeout",
        ),
        # here a time-out is no reason to send again
        "test_timeout_errors_cause_retries": RESENDS + "test_R3_no_reply_in_time_is_one_post",
        "test_delayed_body_read_timeout": DEADLINES
        + "test_streams_end_at_the_gap_and_not_at_the_deadline",
        "test_delayed_body_read_timeout_with_preload": DEADLINES
        + "test_T3_thirty_of_thirty_drips_end_at_the_deadline",
        "test_incomplete_response": KEEPALIVE + "test_input_65_a_break_in_mid_body_is_cut_off",
        "test_retry_weird_http_version": REPLIES
        + "test_input_45_and_67_what_is_no_http_is_unreadable_and_not_ambiguous",
        "test_connection_cleanup_on_read_timeout": DEADLINES
        + "test_T3_thirty_of_thirty_drips_end_at_the_deadline",
        "test_connection_cleanup_on_protocol_error_during_read": REPLIES
        + "test_input_51_53_broken_framing_is_a_lost_connection",
        "test_connection_closed_on_read_timeout_preload_false": DEADLINES
        + "test_streams_end_at_the_gap_and_not_at_the_deadline",
        "test_closing_response_actually_closes_connection": (
            "tests/transport/test_httpx_lanes.py::test_a_stream_left_early_closes_its_lane"
        ),
        "test_release_conn_param_is_respected_after_timeout_retry": (
            "Whoever calls does not decide when a connection is given back."
        ),
        "test_socket_close_socket_then_file": "No file is made of a socket here.",
        "test_socket_close_stays_open_with_makefile_open": "No file is made of a socket here.",
        "test_socket_shutdown_stops_recv": LANES
        + "test_a_stream_closed_by_another_thread_ends_its_reader_at_once",
    },
    "urllib3, test_socketlevel.py: the rest": {
        "test_enforce_content_length_get": REPLIES
        + "test_input_51_53_broken_framing_is_a_lost_connection",
        "test_enforce_content_length_no_body": "Nothing is asked for with HEAD.",
        "test_bad_statusline": REPLIES
        + "test_input_45_and_67_what_is_no_http_is_unreadable_and_not_ambiguous",
        "test_unknown_protocol": REPLIES
        + "test_input_45_and_67_what_is_no_http_is_unreadable_and_not_ambiguous",
        "test_early_eof_doesnt_cause_infinite_loop": "tests/transport/test_exchange_edges.py::"
        "test_early_eof_is_cut_off",
        "test_pool_size_retry_drain_fail": KEEPALIVE
        + "test_input_65_a_break_in_mid_body_is_cut_off",
    },
}
