"""The story of a bulk job: read, cut, send some at a time, hand the results out in order.

Written once. Who asks for results does the reading and encoding, in between: an input is read by
nobody else, and never much further than results have been asked for. What runs at the same time is
behind the port ``Crew``; threads and tasks are in ``bulk_threads`` and ``bulk_tasks``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from servingclient._call import Story
from servingclient.batching.checkpoint import Checkpoint
from servingclient.batching.options import BulkOptions
from servingclient.batching.piece import Piece, at_row
from servingclient.batching.progress import Display
from servingclient.batching.results import Block
from servingclient.batching.rows import Rows, cut
from servingclient.batching.scorer import Scorer
from servingclient.batching.source import Source
from servingclient.batching.splitter import Splitter, fitting
from servingclient.batching.unfit import columns_of, unfit
from servingclient.errors import PayloadError, ServingError

_SMALLEST_LIMIT_BYTES: Final = 4 * 1024 * 1024  # documented, of all kinds of endpoint
_LOOK_S: Final = 0.25  # how often a display is looked at while nothing happens


class Crew(Protocol):
    """Does the sending, beside the one who asks for results."""

    reserve: int
    """Pieces that may wait for a hand, so that no hand waits for a piece."""

    async def start(self, work: Callable[[], Coroutine[Any, Any, None]], most: int) -> None:
        """Begin with ``work``, with at most ``most`` hands."""

    async def wait(self, timeout_s: float | None) -> None:
        """Wait until some work is done, or the time is up."""

    async def pause(self) -> None:
        """Let others have a turn."""

    async def end(self) -> None:
        """Break off what runs, and wait until it has ended."""


class Job:
    """One call of ``map``.

    Args:
        story: How the client calls its endpoint.
        options: What the caller asked for.
        source: The rows.
        crew: Does the sending.
        limit: How many calls the endpoint takes at once now, as far as is known.
    """

    def __init__(
        self,
        story: Story,
        options: BulkOptions,
        source: Source,
        crew: Crew,
        limit: Callable[[], int],
    ) -> None:
        bulk = story.settings.bulk
        # a quarter: a first try that takes longer than aimed at still leaves time for another
        aim_s = min(bulk.aim_request_s, options.timeout_s / 4)
        self._splitter = Splitter(bulk, aim_s, options.rows_per_request)
        self._scorer = Scorer(story, options, self._splitter)
        self._story = story
        self._options = options
        self._source = source
        self._crew = crew
        self._limit = limit
        self._display = Display(source.total, story.world.now) if options.progress else None
        self._window: deque[Piece] = deque()
        self._columns: frozenset[Any] | None = None
        self._checkpoint: Checkpoint | None = None
        self._fatal: Exception | None = None
        self._ended = False
        self._told_rows = self._failed_rows = 0

    async def blocks(self) -> AsyncGenerator[Block, None]:
        """The results, piece by piece, in the order of the rows."""
        window = self._window
        error: Exception | None = None
        try:
            self._open_checkpoint()
            await self._learn()
            while error is None and (window or not self._ended):
                if self._hungry():
                    await self._read_on()
                self._show()
                if window and window[0].done:
                    block, error = self._outcome(window.popleft())
                    if block.predictions:
                        yield block
                elif self._fatal is not None:
                    error = self._fatal
                elif window and not self._hungry():
                    await self._crew.wait(None if self._display is None else _LOOK_S)
            error = error or self._source.error
            if error is not None:
                raise error
        finally:
            try:
                await self._crew.end()
            finally:  # a second Ctrl-C ends the wait, not the ending
                if self._checkpoint is not None:
                    self._checkpoint.close()
                if self._display is not None:
                    self._display.close()
                # it holds the frames it passes, and through them this job and its input
                self._fatal = self._source.error = None
                del error

    # ------------------------------------------------------------------------------- results

    def _outcome(self, piece: Piece) -> tuple[Block, ServingError | None]:
        """What is handed out for a piece: all of it, or what stands before an error to raise."""
        values = piece.values
        self._told_rows += len(values)
        self._failed_rows += piece.failed
        if not piece.failed:
            return Block(piece.first_row, values), None
        if self._options.returns_errors:
            results = [
                at_row(value, row) if isinstance(value, ServingError) else value
                for row, value in enumerate(values, piece.first_row)
            ]
            return Block(piece.first_row, results), None
        first = next(at for at, value in enumerate(values) if isinstance(value, ServingError))
        return Block(piece.first_row, values[:first]), at_row(
            values[first], piece.first_row + first
        )

    def _show(self) -> None:
        if self._display is not None:
            done = [piece for piece in self._window if piece.done]
            self._display.update(
                self._told_rows + sum(len(piece.values) for piece in done),
                self._failed_rows + sum(piece.failed for piece in done),
                0 if self._checkpoint is None else self._checkpoint.restored_rows,
            )

    # ------------------------------------------------------------------------------- reading

    def _most(self) -> int:
        """Requests there may be at once."""
        most = self._options.concurrency
        if most is not None:
            return most
        return max(1, min(self._story.settings.bulk.max_in_flight, self._limit()))

    def _hungry(self) -> bool:
        """Whether another piece is wanted: a hand is free, and results are not too far ahead."""
        if self._ended or self._fatal is not None:
            return False
        most, reserve = self._most(), self._crew.reserve
        if len(self._window) >= 2 * most + reserve:
            return False
        if not self._options.returns_errors and any(piece.failed for piece in self._window):
            return False
        return sum(not piece.done for piece in self._window) < most + reserve

    async def _read_on(self) -> None:
        piece = await self._next()
        if piece is None:
            self._ended = True
            return
        self._window.append(piece)
        if piece.todo:
            await self._crew.start(partial(self._work, piece), self._most())
        else:
            piece.settle()
        await self._crew.pause()

    async def _next(self) -> Piece | None:
        source, checkpoint = self._source, self._checkpoint
        first_row = source.position
        wanted = self._splitter.rows(source.left_rows, self._most())
        if checkpoint is not None:
            wanted = checkpoint.rows_to_take(first_row, wanted)
        rows = await source.take(wanted)
        if first_row == 0 and rows is not None:
            self._columns = columns_of(rows)
        if checkpoint is not None and (piece := checkpoint.restored(first_row, rows)) is not None:
            if piece.todo:
                self._encode(piece)
            return piece
        return None if rows is None else self._fitted(first_row, rows)

    def _fitted(self, first_row: int, rows: Rows) -> Piece:
        """A piece of as many of ``rows`` as fit one request; the others are given back."""
        while True:
            piece = Piece.of(first_row, rows)
            self._encode(piece)
            size = len(piece.values)
            if piece.body is None:
                return piece
            body_bytes = len(piece.body.data)
            self._splitter.encoded(len(piece.todo), body_bytes)
            limit_bytes = self._limit_bytes()
            if limit_bytes is None or body_bytes <= limit_bytes or size == 1:
                return piece
            keep = fitting(size, body_bytes, limit_bytes)
            self._source.give_back(cut(rows, keep, size))
            rows = cut(rows, 0, keep)

    def _limit_bytes(self) -> int | None:
        """Above it a request is cut before it is sent. The endpoint's own limit is known only to
        the call, which refuses what exceeds it; then the piece is halved.
        """
        own = self._story.settings.payload.max_request_bytes
        if own is not None or self._options.rows_per_request is not None:
            return own
        return _SMALLEST_LIMIT_BYTES

    def _encode(self, piece: Piece) -> None:
        """Encode what is to be sent; rows that cannot be sent fail here and alone."""
        todo, rows = piece.todo, piece.chosen(piece.todo)
        encode = partial(self._scorer.encode, first_row=piece.first_row + todo[0])
        try:
            if columns_of(rows) == self._columns:
                piece.body = encode(rows)
                return
        except PayloadError:
            pass
        bad = unfit(rows, self._columns, encode)
        for index, error in bad.items():
            piece.fail([todo[index]], error)
        end = len(todo) if self._options.returns_errors else min(bad, default=len(todo))
        piece.todo = [todo[index] for index in range(end) if index not in bad]
        if not piece.todo:
            return
        try:
            piece.body = encode(piece.chosen(piece.todo))
        except PayloadError as error:  # of no row in particular
            piece.fail(piece.todo, error)
            piece.todo = ()

    # ------------------------------------------------------------------------------- sending

    async def _work(self, piece: Piece) -> None:
        """Bring one piece to its end; what ends the whole job is noted, not raised."""
        try:
            await self._scorer.score(piece)
            if self._checkpoint is not None:
                self._checkpoint.record(piece)
            piece.settle()
        except Exception as error:  # noqa: BLE001 - raised by the one who asks for results
            self._fatal = self._fatal or error

    async def _learn(self) -> None:
        """Have the model's signature at hand, where the settings ask for it."""
        options = self._options
        deadline_s = self._story.world.now() + options.timeout_s
        await self._story.learn(deadline_s, options.rank)

    def _open_checkpoint(self) -> None:
        if self._options.checkpoint is not None:
            self._checkpoint = Checkpoint(self._options.checkpoint, self._story, self._options)
