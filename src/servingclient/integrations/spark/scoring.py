"""What runs in a Python worker of Spark: rows in, rows with predictions out, bounded memory.

A worker is a process that runs task after task, so its client is made with the first and kept.
Nothing here counts on being closed: Spark ends a task it needs no more rows of without a word.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from servingclient import ServingClient
from servingclient.bulk.results import Block
from servingclient.errors import ServingError
from servingclient.integrations.spark.progress import Progress
from servingclient.integrations.spark.results import fitting
from servingclient.policies.ratelimit import Bucket
from servingclient.settings import RateLimit, Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.types import DataType

_MOST_CLIENTS: Final = 4
"""Clients a worker keeps. A job needs one; a notebook whose token changes must not collect them."""


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials as they were given; with none, unified authentication decides in each process."""

    host: str | None = None
    token: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)

    def client(self, endpoint: str, settings: Settings) -> ServingClient:
        """A client of this process.

        Raises:
            ConfigError: They contradict each other, or there are none.
        """
        return ServingClient(
            endpoint,
            host=self.host,
            token=self.token,
            client_id=self.client_id,
            client_secret=self.client_secret,
            settings=settings,
        )


@dataclass(frozen=True, slots=True)
class Work:
    """What every worker is told. It travels, clients do not.

    Attributes:
        endpoint: Whom to ask.
        login: As whom.
        settings: Of the client.
        result_type: Type of a prediction.
        rows_per_request: Rows in each request.
        in_flight: Requests at once of one worker.
        calls_per_s: Requests a second of one worker; None without a limit.
        run_id: Start of the requests' ids.
        progress: Is told; None for nobody.
    """

    endpoint: str
    login: Login
    settings: Settings
    result_type: DataType
    rows_per_request: int
    in_flight: int
    calls_per_s: float | None
    run_id: str
    progress: Progress | None

    def scored(self, portions: Iterable[Any]) -> Iterator[Block]:
        """Results of portions of rows, each of which is one request, in order."""
        worker = _worker_of(self)
        number = _partition()
        results = worker.client.map(
            portions,
            on_error="return",
            concurrency=self.in_flight,
            rows_per_request=self.rows_per_request,
            client_request_id=f"{self.run_id}-{number}",
        )
        counted = _attempts(worker.client) if self.progress is not None else 0
        for block in results.blocks():
            if self.progress is not None:
                before, counted = counted, _attempts(worker.client)
                failed = sum(isinstance(one, ServingError) for one in block.predictions)
                self.progress.add(len(block.predictions), counted - before, failed)
            yield block

    def pace(self) -> None:
        """Wait for the instant of the next request, where there is a limit to requests a second."""
        bucket = _worker_of(self).bucket
        if bucket is not None and (wait_s := bucket.reserve(time.monotonic())) > 0.0:
            threading.Event().wait(wait_s)

    def columns(self, predictions: list[Any]) -> tuple[pa.Array, pa.Array]:
        """Predictions of the promised type, and why there is none."""
        import pyarrow as pa

        values = list(predictions)
        errors: list[str | None] = [None] * len(values)
        for row, value in enumerate(predictions):
            if isinstance(value, ServingError):
                values[row], errors[row] = None, f"{type(value).__name__}: {value}"
        made = fitting(self.result_type).column(values, errors)
        return made, pa.array(errors, pa.string())


@dataclass(frozen=True, slots=True)
class Scoring:
    """The function of ``mapInArrow``.

    Attributes:
        work: What every worker is told.
        names: Columns of the rows that come in, in order.
        sent: Columns to send.
        kept: Columns of the result.
        prediction_column: Name of the column of predictions.
        error_column: Name of the column of errors.
    """

    work: Work
    names: Sequence[str]
    sent: Sequence[str]
    kept: Sequence[str]
    prediction_column: str
    error_column: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score the rows of one partition."""
        waiting = Waiting(lambda batch: batch.num_rows)
        portions = tables(
            waiting.noted(self._named(batches)), self.sent, self.work.rows_per_request
        )
        for block in self.work.scored(paced(portions, self.work.pace)):
            values, errors = self.work.columns(block.predictions)
            start = 0
            for batch, offset, rows in waiting.answered(len(block.predictions)):
                yield self._batch(batch.slice(offset, rows), values[start:], errors[start:])
                start += rows

    def _named(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches under the names of the frame; see ``frames.narrow``."""
        import pyarrow as pa

        for batch in batches:
            yield pa.RecordBatch.from_arrays(batch.columns, names=list(self.names))

    def _batch(self, rows: pa.RecordBatch, values: pa.Array, errors: pa.Array) -> pa.RecordBatch:
        import pyarrow as pa

        count = rows.num_rows
        return pa.RecordBatch.from_arrays(
            [*(rows.column(name) for name in self.kept), values[:count], errors[:count]],
            names=[*self.kept, self.prediction_column, self.error_column],
        )


class Waiting:
    """Batches that have been read and not been answered yet, in order.

    Args:
        rows_in: Tells how many rows one has.
    """

    def __init__(self, rows_in: Callable[[Any], int]) -> None:
        self._rows_in = rows_in
        self._batches: deque[Any] = deque()
        self._offset = 0

    def noted(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches as they are read; empty ones are left out."""
        for batch in batches:
            if self._rows_in(batch):
                self._batches.append(batch)
                yield batch

    def answered(self, rows: int) -> Iterator[tuple[Any, int, int]]:
        """Batch, first row and number of rows of each stretch of the next ``rows`` rows."""
        while rows:
            batch = self._batches[0]
            found = min(rows, self._rows_in(batch) - self._offset)
            yield batch, self._offset, found
            rows -= found
            self._offset += found
            if self._offset == self._rows_in(batch):
                self._batches.popleft()
                self._offset = 0


def tables(
    batches: Iterable[pa.RecordBatch], columns: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    """The rows of batches as tables of exactly ``rows`` rows; the last has what is left.

    So the requests of a partition are the same however Spark cuts its batches.
    """
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    wanted = rows
    for batch in batches:
        part = batch.select(list(columns))
        start = 0
        while start < part.num_rows:
            piece = part.slice(start, wanted)
            held.append(piece)
            start += piece.num_rows
            wanted -= piece.num_rows
            if not wanted:
                yield pa.Table.from_batches(held)
                held, wanted = [], rows
    if held:
        yield pa.Table.from_batches(held)


def paced(portions: Iterable[Any], wait: Callable[[], None]) -> Iterator[Any]:
    """Portions, none before its turn."""
    for portion in portions:
        wait()
        yield portion


# ------------------------------------------------------------------------------- the process


@dataclass(frozen=True, slots=True)
class _Worker:
    """What a process keeps from task to task."""

    client: ServingClient
    bucket: Bucket | None


_workers: OrderedDict[tuple[Any, ...], _Worker] = OrderedDict()
_one_at_a_time = threading.Lock()


def _worker_of(work: Work) -> _Worker:
    """The client of this process for an endpoint, login and settings, and its pace."""
    key = (work.endpoint, work.login, work.settings, work.calls_per_s)
    with _one_at_a_time:
        found = _workers.get(key)
        if found is None:
            client = work.login.client(work.endpoint, work.settings)
            found = _workers[key] = _Worker(client, _bucket(work.calls_per_s))
        _workers.move_to_end(key)
        if len(_workers) > _MOST_CLIENTS:
            _, old = _workers.popitem(last=False)
            old.client.close()
    return found


def _bucket(calls_per_s: float | None) -> Bucket | None:
    if calls_per_s is None:
        return None
    return Bucket(RateLimit(calls_per_s=calls_per_s, burst_calls=1, learn=False))


def _partition() -> int:
    """Number of the partition this task works on."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return 0 if context is None else int(context.partitionId())


def _attempts(client: ServingClient) -> int:
    return client.stats().total.attempts
