"""Rows of several callers in one request."""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.settings.checks import names_checked, number, whole


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """When callers share a request. A call that finds a free slot never waits for company."""

    max_batch_rows: int = 64
    """Most rows in one request. At 64 the cost of the request itself, some 120 us of CPU, is a
    sixth of that of its rows; more rows would mostly make them wait longer for each other."""
    max_batch_bytes: int = 4 * 1024 * 1024
    """Largest request made of several calls: the smallest documented limit of an endpoint."""
    max_wait_s: float = 0.005
    """Longest wait for a slot while all are taken; beyond it only the concurrency limit holds a
    request back."""
    max_in_flight: int | None = None
    """Slots: requests at once before callers gather. None takes the provisioned concurrency the
    endpoint tells, divided by ``Concurrency.client_processes``, and 4, the smallest size sold,
    where it tells none."""

    def __post_init__(self) -> None:
        whole(self, "max_batch_rows", "max_batch_bytes", "max_in_flight")
        number(self, "max_wait_s")
