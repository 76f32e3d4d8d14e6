"""How one piece of a bulk job is brought to its end: sent, and divided where it is refused. Pure.

A request refused for its content (400, 422) is halved until the rows to blame are alone. Each half
is a request of its own, so there is a bound: a piece starts with a few times the requests that
single out one row, and each request that goes through earns two more, for itself and for the half
beside it that did not. Where nothing goes through, that is 4 log2(n) + 64 requests; after a piece
in which nothing did, 2 log2(n) + 2 until something does. What is left then keeps the error of the
smallest part that was refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from servingclient._call import Story
from servingclient._prediction import Prediction
from servingclient.bulk.options import BulkOptions
from servingclient.bulk.piece import Piece
from servingclient.bulk.rows import Rows
from servingclient.bulk.splitter import Splitter
from servingclient.errors import (
    BadRequest,
    BatchScatterError,
    ClientClosedError,
    ConfigError,
    DeadlineExceeded,
    PayloadTooLarge,
    QueueFull,
    ServerError,
    ServingError,
)
from servingclient.payload.body import Body

_CONTENT = frozenset({400, 422})
_TOO_SLOW = frozenset({408, 504})
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

FATAL = (ClientClosedError, ConfigError)
"""Errors that every further request would meet: they end the job, whatever ``on_error`` says."""


class _Part(NamedTuple):
    """Some rows of a piece that go together, and why the request they were in was refused."""

    offsets: Sequence[int]
    body: Body | None
    refusal: ServingError | None


class Scorer:
    """Sends the pieces of one job.

    Args:
        story: How the client calls its endpoint.
        options: What the caller asked for.
        splitter: Is told how long answers take and how large they are.
    """

    def __init__(self, story: Story, options: BulkOptions, splitter: Splitter) -> None:
        self._story = story
        self._options = options
        self._splitter = splitter
        self._hopeless = False

    def encode(self, rows: Rows, first_row: int) -> Body:
        """The request for some rows, as ``predict`` would send it.

        Raises:
            PayloadError: They cannot be sent.
        """
        options = self._options
        prefix = options.client_request_id
        request_id = None if prefix is None else f"{prefix}-{first_row}"
        given = (rows, options.params, request_id, options.usage_context)
        return self._story.begin(0.0, given, options.served_model, 0.0, False, 0).body

    async def score(self, piece: Piece) -> None:
        """Bring every row of ``piece`` to a prediction or an error.

        Where errors are raised, rows behind the first error are left open.

        Raises:
            ServingError: One of ``FATAL``.
        """
        parts = [_Part(piece.todo, piece.body, None)]
        posts_left = self._allowance(len(piece.todo))
        refused = through = False
        failed = piece.failed
        while parts and (piece.failed == failed or self._options.returns_errors):
            offsets, body, refusal = parts.pop()
            if refusal is not None and posts_left < 1:
                piece.fail(offsets, _not_alone(refusal))
                continue
            try:
                if body is None:
                    body = self.encode(piece.chosen(offsets), piece.first_row + offsets[0])
                values = await self._predict(body, len(offsets))
            except FATAL:
                raise
            except ServingError as error:
                posts_left -= _was_sent(error) and refusal is not None
                refused |= isinstance(error, BadRequest)
                if len(offsets) > 1 and _divisible(error):
                    middle = len(offsets) // 2
                    refusal = error.with_traceback(None)  # which holds this frame, which holds it
                    parts.append(_Part(offsets[middle:], None, refusal))
                    parts.append(_Part(offsets[:middle], None, refusal))
                else:
                    self._learn_from(error, len(offsets))
                    piece.fail(offsets, error)
            else:
                through = True
                posts_left += refusal is not None
                piece.fill(offsets, values)
        if refused or through:
            self._hopeless = not through

    def _allowance(self, rows: int) -> int:
        """Requests beyond the first that one piece may take before any of them goes through."""
        depth = math.ceil(math.log2(rows)) if rows > 1 else 0
        return 2 * depth + 2 if self._hopeless else 4 * depth + 64

    async def _predict(self, body: Body, rows: int) -> list[Any]:
        prediction = await self._send(body)
        values = prediction.predictions
        if type(values) is not list or len(values) != rows:
            raise _no_rows(values, rows, prediction)
        self._splitter.answered(rows, values, prediction.timing.first_byte_s)
        return values

    async def _send(self, body: Body) -> Prediction:
        """One call. While too many others wait, it waits outside: a job has time."""
        story, options = self._story, self._options
        now = story.world.now
        deadline_s = now() + options.timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            started_s = now()
            call = story.call_of(
                body,
                started_s,
                options.served_model,
                deadline_s - started_s,
                options.idempotent,
                options.rank,
            )
            try:
                return await story.score(call)
            except QueueFull:
                if now() + pause_s >= deadline_s:
                    raise
            await story.world.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _learn_from(self, error: ServingError, rows: int) -> None:
        slow = isinstance(error, ServerError) and error.status_code in _TOO_SLOW
        if slow or isinstance(error, DeadlineExceeded):
            self._splitter.too_long(rows)


def _divisible(error: ServingError) -> bool:
    """Whether some of the rows may fare better without the others."""
    if isinstance(error, BadRequest):
        return error.status_code in _CONTENT
    return isinstance(error, PayloadTooLarge)


def _was_sent(error: ServingError) -> bool:
    """A request larger than the known limit is divided before it is sent."""
    return error.status_code is not None


def _not_alone(refusal: ServingError) -> ServingError:
    """The error of rows that were refused in company, and are not tried by themselves."""
    error = type(refusal)(
        f"{refusal} They were refused together with others and not tried alone: too much of this "
        "part was refused."
    )
    error.__dict__.update(refusal.__dict__)
    return error


def _no_rows(values: object, rows: int, prediction: Prediction) -> BatchScatterError:
    found = f"{len(values):,} values" if isinstance(values, list) else f"a {type(values).__name__}"
    error = BatchScatterError(
        f"The reply to {rows:,} rows holds {found} instead of one value a row, so which row each "
        "belongs to is not known. If the model does not answer row by row, call predict."
    )
    error.rows = rows
    error.status_code = prediction.status
    error.request_id = prediction.request_id
    error.attempts = prediction.attempts
    error.sent = "yes"
    return error
