"""What makes the next piece of a bulk job: read, restored or cut to fit, and encoded.

It runs where results are asked for, never beside: an input is read by one, and a sender never waits
for another's encoding.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from servingclient._call import Story
from servingclient.auth.endpoint import SMALL_LIMIT_BYTES
from servingclient.bulk.checkpoint import Checkpoint
from servingclient.bulk.options import BulkOptions
from servingclient.bulk.piece import Piece
from servingclient.bulk.rows import Rows, count, cut
from servingclient.bulk.scorer import Scorer
from servingclient.bulk.source import Source
from servingclient.bulk.splitter import Splitter, fitting
from servingclient.bulk.staged import RowStages
from servingclient.bulk.unfit import columns_of, unfit
from servingclient.errors import PayloadError


class Pieces:
    """The pieces of one job, in order.

    Args:
        story: How the client calls its endpoint.
        options: What the caller asked for.
        source: The rows.
        splitter: Says how many rows a piece has, and is told what they came to.
        scorer: Encodes requests.
        stages: What is made of the rows before; None where nothing is.

    Attributes:
        checkpoint: Where finished pieces are found and recorded; None without one.
    """

    def __init__(
        self,
        story: Story,
        options: BulkOptions,
        source: Source,
        splitter: Splitter,
        scorer: Scorer,
        stages: RowStages | None,
    ) -> None:
        self.checkpoint: Checkpoint | None = None
        self._story = story
        self._options = options
        self._source = source
        self._splitter = splitter
        self._scorer = scorer
        self._stages = stages
        self._columns: frozenset[Any] | None = None
        self._columns_known = False
        self._ahead: Rows = None

    async def open(self) -> None:
        """Have the checkpoint and, where the settings ask for it, the model's signature at hand.

        Raises:
            CheckpointError: The file cannot be used.
        """
        story, options = self._story, self._options
        if options.checkpoint is not None:
            self.checkpoint = Checkpoint(options.checkpoint, story, options)
        await story.learn(story.world.now() + options.timeout_s, options.rank)

    async def next(self, in_flight: int) -> Piece | None:
        """The next piece: encoded as far as it is to be sent; None at the end of the input, and
        where a stage failed, which is the source's error then.

        Args:
            in_flight: Requests there may be at once.

        Raises:
            CheckpointError: The input is another than that of the checkpoint.
        """
        source, checkpoint = self._source, self.checkpoint
        first_row = source.position
        wanted = self._splitter.rows(source.left_rows, in_flight)
        if self._ahead is not None:
            wanted = min(wanted, count(self._ahead))
        if checkpoint is not None:
            wanted = checkpoint.rows_to_take(first_row, wanted)
        rows = await source.take(wanted)
        if rows is not None and self._stages is None:
            self._learn_columns(rows)
        piece = None
        if checkpoint is not None:
            piece = checkpoint.restored(first_row, rows)
        if piece is not None and not piece.todo:
            self._ahead = None
            return piece
        if rows is None:
            return None
        try:
            staged = await self._staged(rows)
        except Exception as error:  # noqa: BLE001 - raised by the job, when all before it is out
            source.error = error
            return None
        if staged is not None:
            self._learn_columns(staged)
        if piece is None:
            return self._fitted(first_row, rows, staged)
        self._enter(piece, staged)
        self._encode(piece)
        return piece

    async def _staged(self, rows: Rows) -> Rows:
        """What the stages make of ``rows``, and perhaps of more that come next; None without any.

        Rows that were given back have been through them, and do not go again.
        """
        if self._stages is None:
            return None
        ahead, self._ahead = self._ahead, None
        if ahead is not None and count(rows) <= count(ahead):
            return ahead
        return await self._stages.before(rows)

    def _enter(self, piece: Piece, staged: Rows) -> None:
        """Give a piece what was made of its rows, and keep what was made of those behind it."""
        if staged is None:
            return
        size, made = len(piece.values), count(staged)
        piece.staged = staged if size == made else cut(staged, 0, size)
        self._ahead = None if size == made else cut(staged, size, made)

    def _learn_columns(self, rows: Rows) -> None:
        """Every row must be of the form of the first one seen."""
        if not self._columns_known:
            self._columns = columns_of(rows)
            self._columns_known = True

    def _fitted(self, first_row: int, rows: Rows, staged: Rows) -> Piece:
        """A piece of as many of ``rows`` as fit one request; the others are given back."""
        while True:
            piece = Piece.of(first_row, rows)
            self._enter(piece, staged)
            self._encode(piece)
            if piece.body is None:
                return piece
            size, body_bytes = len(piece.values), len(piece.body.data)
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
        return SMALL_LIMIT_BYTES

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
        # where errors are raised, no row behind the first is asked for
        end = len(todo) if self._options.returns_errors else min(bad, default=len(todo))
        piece.todo = [todo[index] for index in range(end) if index not in bad]
        if not piece.todo:
            return
        try:
            piece.body = encode(piece.chosen(piece.todo))
        except PayloadError as error:  # of no row in particular
            piece.fail(piece.todo, error)
            piece.todo = ()
