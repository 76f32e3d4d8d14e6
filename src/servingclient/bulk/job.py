"""The story of a bulk job: read, cut, send some at a time, hand the results out in order.

Written once. Who asks for results does the reading and encoding, in between: an input is read by
nobody else, and never much further than results have been asked for. What runs at the same time is
behind the port ``Crew``; ``threads`` and ``tasks`` are its two forms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from servingclient._call import Story
from servingclient.bulk.options import BulkOptions
from servingclient.bulk.piece import Piece, at_row
from servingclient.bulk.pieces import Pieces
from servingclient.bulk.progress import Display
from servingclient.bulk.results import Block
from servingclient.bulk.scorer import Scorer
from servingclient.bulk.source import Source
from servingclient.bulk.splitter import Splitter
from servingclient.bulk.staged import RowStages
from servingclient.errors import ServingError
from servingclient.stages.staging import Staging

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
        staging: What the client runs around calls.
    """

    def __init__(
        self,
        story: Story,
        options: BulkOptions,
        source: Source,
        crew: Crew,
        limit: Callable[[], int],
        staging: Staging,
    ) -> None:
        self._stages = None
        if staging.stages.any:
            self._stages = RowStages(staging, options.timeout_s, story.world.now)
        bulk = story.settings.bulk
        # a quarter: a first try that takes longer than aimed at still leaves time for another
        aim_s = min(bulk.aim_request_s, options.timeout_s / 4)
        splitter = Splitter(bulk, aim_s, options.rows_per_request)
        self._scorer = Scorer(story, options, splitter)
        self._pieces = Pieces(story, options, source, splitter, self._scorer, self._stages)
        self._most_in_flight = bulk.max_in_flight
        self._options = options
        self._source = source
        self._crew = crew
        self._limit = limit
        self._display = Display(source.total, story.world.now) if options.progress else None
        self._window: deque[Piece] = deque()
        self._fatal: Exception | None = None
        self._ended = False
        self._told_rows = self._failed_rows = 0

    async def blocks(self) -> AsyncGenerator[Block, None]:
        """The results, piece by piece, in the order of the rows."""
        window = self._window
        error: Exception | None = None
        try:
            await self._pieces.open()
            while error is None and (window or not self._ended):
                if self._hungry():
                    await self._read_on()
                self._show()
                if window and window[0].done:
                    block, error = self._outcome(window.popleft())
                    if self._stages is not None:
                        block = await self._stages.after(block)
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
                if self._pieces.checkpoint is not None:
                    self._pieces.checkpoint.close()
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
                0 if self._pieces.checkpoint is None else self._pieces.checkpoint.restored_rows,
            )

    # ------------------------------------------------------------------------------- what runs

    def _most(self) -> int:
        """Requests there may be at once."""
        most = self._options.concurrency
        if most is not None:
            return most
        return max(1, min(self._most_in_flight, self._limit()))

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
        piece = await self._pieces.next(self._most())
        if piece is None:
            self._ended = True
            return
        self._window.append(piece)
        if piece.todo:
            await self._crew.start(partial(self._work, piece), self._most())
        else:
            piece.settle()
        await self._crew.pause()

    async def _work(self, piece: Piece) -> None:
        """Bring one piece to its end; what ends the whole job is noted, not raised."""
        try:
            await self._scorer.score(piece)
            if self._pieces.checkpoint is not None:
                self._pieces.checkpoint.record(piece)
            piece.settle()
        except Exception as error:  # noqa: BLE001 - raised by the one who asks for results
            self._fatal = self._fatal or error
