"""Rows of several callers in one request."""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.settings.checks import names_checked, number, whole


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """When callers share a request. A call that finds a free place never waits for company."""

    max_batch_rows: int = 64
    """Most rows in one request."""
    max_batch_bytes: int = 4 * 1024 * 1024
    """Most bytes of rows in one request: the smallest documented limit of an endpoint."""
    max_wait_s: float = 0.005
    """Longest wait for company while all batches are under way; beyond it only the concurrency
    limit holds a batch back."""
    max_in_flight: int | None = None
    """Batches at once before callers gather; None takes the provisioned concurrency the endpoint
    tells, and 4, the smallest size sold, where it tells none."""

    def __post_init__(self) -> None:
        whole(self, "max_batch_rows", "max_batch_bytes", "max_in_flight")
        number(self, "max_wait_s")
