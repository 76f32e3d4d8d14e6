"""How far a job is, as its tasks tell the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servingclient.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Progress:
    """Rows, requests and errors of one job, summed up over all workers.

    Spark hears of them when a task ends, and again when one runs anew: after a failure, or for a
    second action, they are more than there are rows.

    Args:
        spark: The session, of a Spark that has accumulators: not of Spark Connect.

    Raises:
        ConfigError: It has none.
    """

    def __init__(self, spark: SparkSession) -> None:
        try:
            context: Any = spark.sparkContext
        except Exception:  # noqa: BLE001 - each version has an error of its own for this
            raise ConfigError(
                "Progress counts with accumulators, which Spark Connect does not have. Leave "
                "progress out, and count the result's errors instead."
            ) from None
        self._rows = context.accumulator(0)
        self._requests = context.accumulator(0)
        self._errors = context.accumulator(0)

    def add(self, rows: int, requests: int, errors: int) -> None:
        """Count; on a worker.

        Args:
            rows: Rows that have a prediction or an error now.
            requests: Requests that were sent for them.
            errors: Those of the rows that have an error.
        """
        self._rows.add(rows)
        self._requests.add(requests)
        self._errors.add(errors)

    @property
    def rows(self) -> int:
        """Rows that have a prediction or an error. On the driver."""
        return int(self._rows.value)

    @property
    def requests(self) -> int:
        """Requests that were sent, tries after failed ones included. On the driver."""
        return int(self._requests.value)

    @property
    def errors(self) -> int:
        """Rows that have an error. On the driver."""
        return int(self._errors.value)

    def __repr__(self) -> str:
        return "Progress(rows, requests, errors)"
