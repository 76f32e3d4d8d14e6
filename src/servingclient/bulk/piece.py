"""A run of rows that belong to one request of a bulk job, and what became of each. Pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from servingclient.bulk.rows import Rows, count, pick
from servingclient.errors import ServingError
from servingclient.payload.body import Body


class _Open(Enum):
    """Marks a row that has neither prediction nor error yet."""

    OPEN = "open"


_OPEN: Final = _Open.OPEN


@dataclass(slots=True)
class Piece:
    """Rows that follow one another, from their reading to their results.

    Attributes:
        first_row: Number of the first.
        rows: The rows themselves; None once the piece is done, so that only results are kept.
        values: A prediction or the error for each.
        todo: Offsets of the rows to be sent, ascending.
        body: Their request, encoded.
        failed: How many have an error.
        done: Nothing more will come.
        staged: What the client's stages made of the rows; None where it has none.
    """

    first_row: int
    rows: Rows
    values: list[Any]
    todo: Sequence[int]
    body: Body | None = None
    failed: int = 0
    done: bool = False
    staged: Rows = None

    @classmethod
    def of(cls, first_row: int, rows: Rows) -> Piece:
        """A piece of which nothing is known."""
        size = count(rows)
        return cls(first_row, rows, [_OPEN] * size, range(size))

    def chosen(self, offsets: Sequence[int]) -> Rows:
        """The rows at ``offsets`` as they are sent."""
        rows = self.rows if self.staged is None else self.staged
        return rows if len(offsets) == len(self.values) else pick(rows, offsets)

    def given(self, offsets: Sequence[int]) -> Rows:
        """The rows at ``offsets`` as they were read."""
        return self.rows if len(offsets) == len(self.values) else pick(self.rows, offsets)

    def fill(self, offsets: Sequence[int], predictions: list[Any]) -> None:
        """Enter what was predicted for the rows at ``offsets``."""
        if len(offsets) == len(self.values):
            self.values = predictions
            return
        for offset, value in zip(offsets, predictions, strict=True):
            self.values[offset] = value

    def fail(self, offsets: Sequence[int], error: ServingError) -> None:
        """Enter what went wrong with the rows at ``offsets``: one error, which says where."""
        told = placed(error, self.first_row + offsets[0], self.first_row + offsets[-1])
        for offset in offsets:
            self.values[offset] = told
        self.failed += len(offsets)

    def holes(self) -> list[int]:
        """Offsets of the rows without a prediction."""
        return [
            offset
            for offset, value in enumerate(self.values)
            if value is _OPEN or isinstance(value, ServingError)
        ]

    def settle(self) -> None:
        """Let go of what was needed only until here."""
        self.rows = self.staged = self.body = None
        self.done = True


def placed(error: ServingError, first_row: int, last_row: int) -> ServingError:
    """``error`` as that of some rows of the job: a copy without the frames it came through."""
    text = str(error)
    known = f"Row {error.row}"  # as refusals put it: the number counts within the request
    if error.row is not None and text.startswith(known):
        text = f"Row {first_row}{text[len(known) :]}"
    elif first_row == last_row:
        text = f"Row {first_row}: {text}"
    else:
        text = f"Rows {first_row} to {last_row}: {text}"
    told = at_row(error, first_row)
    told.args = (text,)
    return told


def at_row(error: ServingError, row: int) -> ServingError:
    """A copy of ``error`` for one row; the text, which may be long, is shared."""
    twin = copy.copy(error)
    twin.row = row
    twin.__cause__ = error.__cause__
    return twin
