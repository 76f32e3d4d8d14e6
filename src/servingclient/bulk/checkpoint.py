"""What a job does with its checkpoint file: take finished pieces from it, and add new ones."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from servingclient._call import Story
from servingclient.bulk.frames import Record
from servingclient.bulk.options import BulkOptions
from servingclient.bulk.piece import Piece
from servingclient.bulk.rows import Rows, count
from servingclient.bulk.spool import Spool
from servingclient.errors import CheckpointError, PayloadError
from servingclient.payload.encode import encode

_DIGEST_BYTES: Final = 16

ROW_SETTINGS: Final = (
    "nan",
    "decimal",
    "stringify_columns",
    "floats",
    "significant_digits",
    "prune",
)
"""Those of ``Payload`` that change what a model gets to see; the others may differ between runs."""


class Checkpoint:
    """The checkpoint of one job, open.

    Args:
        path: The file.
        story: Whose endpoint and settings identify the job.
        options: Whose parameters and served model do so.

    Attributes:
        restored_rows: Rows whose predictions came from the file.

    Raises:
        CheckpointError: The file is no checkpoint of this job, or cannot be used.
    """

    def __init__(self, path: str, story: Story, options: BulkOptions) -> None:
        self.restored_rows: int = 0
        self._path = path
        self._payload = story.settings.payload
        self._spool = Spool(path, identity(story, options))

    def rows_to_take(self, row: int, wanted: int) -> int:
        """How many rows the piece that begins with ``row`` has, or may have."""
        record = self._spool.at(row)
        if record is not None:
            return record.rows
        free = self._spool.rows_before_next(row)
        return wanted if free is None else min(wanted, free)

    def restored(self, first_row: int, rows: Rows | None) -> Piece | None:
        """The piece of an earlier run that begins with ``first_row``, its holes still to be sent.

        Args:
            first_row: Number of the first row.
            rows: The rows the input has there; None at its end.

        Returns:
            The piece, or None where there is none.

        Raises:
            CheckpointError: The input has other rows there than in the earlier run.
        """
        record = self._spool.at(first_row)
        if record is None:
            if rows is None and self._spool.rows_before_next(first_row) is not None:
                raise self._ends_early(first_row)
            return None
        if rows is None or count(rows) < record.rows:
            raise self._ends_early(first_row + (0 if rows is None else count(rows)))
        piece = Piece.of(first_row, rows)
        holes = set(record.holes)
        good = [offset for offset in range(record.rows) if offset not in holes]
        if self._digest(piece, good) != record.digest:
            raise self._differs(record)
        piece.fill(good, self._spool.predictions(record))
        piece.todo = record.holes
        self.restored_rows += len(good)
        return piece

    def record(self, piece: Piece) -> None:
        """Add a piece. Rows without a prediction are left open: another run tries them again.

        Raises:
            CheckpointError: The file cannot be written, or the rows cannot be recognised again.
        """
        holes = piece.holes()
        open_rows = set(holes)
        good = [offset for offset in range(len(piece.values)) if offset not in open_rows]
        if good:
            digest = self._digest(piece, good)
            if not digest:
                raise self._unknown(piece.first_row)
            self._spool.append(
                piece.first_row,
                len(piece.values),
                digest,
                holes,
                [piece.values[offset] for offset in good],
            )

    def _digest(self, piece: Piece, offsets: Sequence[int]) -> bytes:
        """Of rows as they were given, whatever is made of them, goes beside them, and whatever is
        known of the model.
        """
        rows = piece.given(offsets)
        try:
            data = encode(
                rows,
                params=None,
                client_request_id=None,
                usage_context=None,
                settings=self._payload,
            ).data
        except PayloadError:  # another input, or one that only preprocess makes fit to be sent
            return b""
        return blake2b(data, digest_size=_DIGEST_BYTES).digest()

    def _differs(self, record: Record) -> CheckpointError:
        last = record.first_row + record.rows - 1
        error = CheckpointError(
            f"The checkpoint {self._path!r} was written for another input: rows "
            f"{record.first_row:,} to {last:,} differ. Give the same input in the same order, or "
            "another file."
        )
        error.row = record.first_row
        return error

    def _unknown(self, row: int) -> CheckpointError:
        error = CheckpointError(
            f"The checkpoint {self._path!r} cannot tell this input from another: from row {row:,} "
            "on, it can be encoded only after preprocess. Prepare the rows before you give them to "
            "map, or leave the checkpoint out."
        )
        error.row = row
        return error

    def _ends_early(self, row: int) -> CheckpointError:
        error = CheckpointError(
            f"The checkpoint {self._path!r} was written for another input: at row {row:,} this one "
            "ends, or goes on in another portion. Give the same input in the same portions, or "
            "another file."
        )
        error.row = row
        return error

    def close(self) -> None:
        """Let go of the file."""
        self._spool.close()


def identity(story: Story, options: BulkOptions) -> dict[str, str]:
    """What makes two jobs the same, apart from their rows."""
    payload = story.settings.payload
    encoding = {name: getattr(payload, name) for name in ROW_SETTINGS}
    return {
        "endpoint": story.endpoint,
        "served_model": options.served_model or "",
        "params": _digest_of(options.params),
        "encoding": _digest_of(encoding),
    }


def _digest_of(value: Any) -> str:
    plain = orjson.dumps(value, repr, orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return blake2b(plain, digest_size=_DIGEST_BYTES).hexdigest()
