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
from servingclient.bulk.rows import Rows, cut
from servingclient.bulk.scorer import Scorer
from servingclient.bulk.source import Source
from servingclient.bulk.splitter import Splitter, fitting
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
    ) -> None:
        self.checkpoint: Checkpoint | None = None
        self._story = story
        self._options = options
        self._source = source
        self._splitter = splitter
        self._scorer = scorer
        self._columns: frozenset[Any] | None = None

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
        """The next piece: encoded as far as it is to be sent; None at the end of the input.

        Args:
            in_flight: Requests there may be at once.

        Raises:
            CheckpointError: The input is another than that of the checkpoint.
        """
        source, checkpoint = self._source, self.checkpoint
        first_row = source.position
        wanted = self._splitter.rows(source.left_rows, in_flight)
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
