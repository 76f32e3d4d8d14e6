"""Large inputs split into many requests by ``map``."""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.settings.checks import names_checked, number, whole


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """How ``map`` cuts an input. Its requests grow from a few rows until one of these is reached;
    ``map(rows_per_request=..., concurrency=...)`` fixes both for one job.
    """

    max_request_rows: int = 5000
    """Most rows in one request. Ten columns took 4.2 us of CPU a row at 100 rows a request, 1.1 at
    1,000, 0.6 at 5,000 and no less at 20,000, where the end of the job waits for the last few."""
    aim_request_bytes: int = 900_000
    """Size a request, and its reply, should have. Above 1 MB the service answers but does not log
    them in the inference table, and bodies in flight are most of the memory a job takes."""
    aim_request_s: float = 5.0
    """Time the endpoint should need for a request; a quarter of the time-out where that is less, so
    that a model of seconds a row gets few rows at a time and still has time for a retry."""
    max_in_flight: int = 16
    """Most requests at once. The concurrency limit decides below that: it follows what the endpoint
    takes, and beyond it requests would only spend their time-out waiting."""

    def __post_init__(self) -> None:
        whole(self, "max_request_rows", "aim_request_bytes", "max_in_flight")
        number(self, "aim_request_s", above=True)
