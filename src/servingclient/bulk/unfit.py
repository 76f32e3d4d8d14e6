"""Which of some rows that cannot be encoded together are to blame. Pure.

Found before anything is sent, so that a missing value costs the job one row and not one request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from servingclient.bulk.rows import Rows, count, pick
from servingclient.errors import PayloadError
from servingclient.payload.refusals import refused


def unfit(
    rows: Rows, columns: frozenset[Any] | None, encode: Callable[[Rows], object]
) -> dict[int, PayloadError]:
    """Which of some rows that cannot be encoded together are to blame.

    Args:
        rows: The rows.
        columns: Names that every row has, where the rows of the job are dicts.
        encode: Raises ``PayloadError`` for rows that cannot be sent.

    Returns:
        Offset and error of each. Without them the rows may still not go together; then the error
        is nobody's in particular.
    """
    bad = _other_columns(rows, columns) if isinstance(rows, (list, tuple)) else {}
    _search(rows, range(count(rows)), encode, bad)
    return bad


def _search(
    rows: Rows,
    offsets: range,
    encode: Callable[[Rows], object],
    bad: dict[int, PayloadError],
) -> None:
    """By halves: k bad rows among n cost about 2 k log(n / k) encodings of parts."""
    good = [offset for offset in offsets if offset not in bad]
    error = _refusal(pick(rows, good), encode) if good else None
    if error is not None and len(good) == 1:
        bad[good[0]] = error
    elif error is not None and error.row is not None:
        middle = offsets.start + len(offsets) // 2
        _search(rows, range(offsets.start, middle), encode, bad)
        _search(rows, range(middle, offsets.stop), encode, bad)


def _refusal(rows: Rows, encode: Callable[[Rows], object]) -> PayloadError | None:
    """Why some rows cannot be sent, without the frames that hold them."""
    try:
        encode(rows)
    except PayloadError as error:
        return error.with_traceback(None)
    return None


def _other_columns(rows: Sequence[Any], columns: frozenset[Any] | None) -> dict[int, PayloadError]:
    """Rows that are not of the form of the job's first row."""
    return {
        offset: _other_form(offset, row, columns)
        for offset, row in enumerate(rows)
        if (row.keys() if isinstance(row, Mapping) else None) != columns
    }


def _other_form(offset: int, row: Any, columns: frozenset[Any] | None) -> PayloadError:
    if columns is None or not isinstance(row, Mapping):
        kind = type(row).__name__
        other = "dicts" if columns is not None else "rows that are no dicts"
        return refused(f"The row is a {kind} among {other}. Make all rows alike.", row=offset)
    absent = sorted(str(name) for name in columns if name not in row)
    name = absent[0] if absent else next(name for name in row if name not in columns)
    return refused(
        f"The row {'lacks' if absent else 'has'} this column, which the first row "
        f"{'has' if absent else 'lacks'}. Every row needs the same keys; None stands for a value "
        "that is not known.",
        row=offset,
        column=str(name),
    )


def columns_of(rows: Rows) -> frozenset[Any] | None:
    """The names of the first row where rows are dicts."""
    if isinstance(rows, (list, tuple)) and isinstance(rows[0], Mapping):
        return frozenset(rows[0])
    return None
