"""Request bodies: what counts as one, how it is written, and where in it a bad value sits.

orjson writes NaN as ``null`` without a word. So a text without ``null`` needs no look at its
values, and only one that holds ``null`` is searched for the value that caused it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson

from servingclient.payload.dtypes import NATIVE, is_numpy
from servingclient.payload.refusals import refuse_duplicates, refused
from servingclient.payload.values import STRICT, fault, stand_in
from servingclient.settings import Payload

TABULAR = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})
"""Keys of the scoring protocol; the reply comes wrapped in ``predictions``."""
UNIFIED = frozenset({"messages", "prompt", "input"})
"""Keys of chat, completion and embedding bodies, which the model gets as they are."""

_NULL: Final = re.compile(b"null")
"""Finds it in half the time of ``in``: 0.13 us of the 1.5 that a row of ten columns takes."""

_NEVER_COLUMNS = frozenset({"dataframe_split", "dataframe_records", "instances"})
_LIST_OPTIONS = frozenset({"stop", "tools", "functions", "include", "modalities"})


class Body(NamedTuple):
    """An encoded request.

    Attributes:
        data: JSON text, UTF-8.
        rows: How many rows it holds, where that is known.
        wrapped: Whether the reply holds its values under ``predictions``. False for chat-like
            bodies, whose reply is the value itself.
    """

    data: bytes
    rows: int | None
    wrapped: bool


def is_body(given: Mapping[Any, Any]) -> bool:
    """Whether a dict is a request body rather than a dict of columns.

    ``dataframe_split``, ``dataframe_records`` and ``instances`` always make one. ``inputs``,
    ``messages``, ``prompt`` and ``input`` may be columns as well: the dict is a body unless every
    value looks like a column (a list or array) and there is another one beside it that is no
    list-valued option (``stop``, ``tools``, ...). So ``{"prompt": ["a"]}`` and ``{"prompt": "a",
    "n": 2}`` are bodies, ``{"prompt": ["a"], "length": [3]}`` is two columns.

    Args:
        given: Any dict.

    Returns:
        True for a body.
    """
    if not _NEVER_COLUMNS.isdisjoint(given):
        return True
    if TABULAR.isdisjoint(given) and UNIFIED.isdisjoint(given):
        return False
    if not all(map(is_column, given.values())):
        return True
    return len(given.keys() - _LIST_OPTIONS) == 1


def is_column(value: object) -> bool:
    """Whether a value can be a column: a list, tuple, array or series, but no text or mapping."""
    if isinstance(value, (list, tuple)):
        return True
    return hasattr(value, "__len__") and (hasattr(value, "dtype") or hasattr(value, "to_pylist"))


def shape(given: Mapping[str, Any]) -> tuple[int | None, bool]:
    """Check an explicit body and read its shape.

    Args:
        given: A body, as :func:`is_body` says.

    Returns:
        Rows where they can be told, and whether the reply will be wrapped.

    Raises:
        PayloadError: Two ways of giving the input, or none of the shape its key asks for.
    """
    tabular = sorted(TABULAR & given.keys())
    unified = sorted(UNIFIED & given.keys())
    if len(tabular) > 1 or (tabular and unified):
        listed = " and ".join([*tabular, *unified])
        raise refused(f"The body has {listed}. Give the input under exactly one of them.")
    if not tabular:
        return None, False
    rows = _rows(tabular[0], given[tabular[0]])
    if rows == 0:
        raise refused(f"{tabular[0]} has 0 rows: nothing to score. Skip the call.")
    return rows, True


def _rows(key: str, content: Any) -> int | None:
    if key == "dataframe_split":
        if not isinstance(content, Mapping) or not is_column(content.get("data")):
            raise refused(
                "dataframe_split must be an object with columns and data (a list of rows), not "
                f"{_described(content)}."
            )
        names = content.get("columns")
        if isinstance(names, (list, tuple)) and all(isinstance(name, Hashable) for name in names):
            refuse_duplicates(names)
        return len(content["data"])
    if key == "dataframe_records" and not isinstance(content, (list, tuple)):
        raise refused(f"dataframe_records must be a list of objects, not {_described(content)}.")
    if isinstance(content, Mapping):
        lengths = {len(values) if is_column(values) else None for values in content.values()}
        return lengths.pop() if len(lengths) == 1 else None
    if is_column(content) and getattr(content, "ndim", 1) > 0:
        return len(content)
    return None


def _described(content: object) -> str:
    if isinstance(content, Mapping):
        return "one without data"
    return f"a {type(content).__name__}"


# ------------------------------------------------------------------------------- writing


def write(body: Mapping[str, Any], settings: Payload) -> bytes:
    """A body of Python values as JSON.

    Args:
        body: The body, such as ``{"dataframe_split": {...}}``.
        settings: What to do about missing values and decimals.

    Returns:
        JSON text, UTF-8.

    Raises:
        PayloadError: A value cannot be sent; row and column are named where there are any.
    """
    try:
        data = orjson.dumps(body, None, STRICT)
    except TypeError:
        data = _write_slowly(body, settings)
    if settings.nan == "raise" and _NULL.search(data):
        report(body, settings)
    return data


def _write_slowly(body: Mapping[str, Any], settings: Payload) -> bytes:
    try:
        return orjson.dumps(body, partial(stand_in, decimal=settings.decimal), STRICT)
    except TypeError as error:
        report(body, settings)
        raise refused(f"The input has no JSON form: {error}.") from None


_ROWS_AT_ONCE: Final = 128
"""Rows made at one time: as many new tuples as pass below the garbage collector's notice (700 start
a collection), which takes a tenth of the time, and a part of the memory."""


def rows_of(columns: Sequence[Sequence[Any]]) -> Any:
    """Checked columns as rows, for :func:`write_checked`: as text, or as rows if some cannot be.

    Args:
        columns: Lists of one length, of what orjson writes with ``dtypes.NATIVE``.
    """
    rows = zip(*columns, strict=True)
    texts = []
    try:
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            texts.append(orjson.dumps(part, None, NATIVE)[1:-1])
    except TypeError:  # writing says which
        return list(zip(*columns, strict=True))
    return orjson.Fragment(b"[%b]" % b",".join(texts))


def write_checked(body: Mapping[str, Any], settings: Payload) -> bytes:
    """The same for data that was checked column by column, arrays included."""
    try:
        return orjson.dumps(body, None, NATIVE)
    except TypeError as error:
        report(body, settings)
        raise refused(f"The input has no JSON form: {error}.") from None


# ------------------------------------------------------------------------- the first bad value


def report(body: Mapping[str, Any], settings: Payload) -> None:
    """Raise for the first bad value of a body, if there is one.

    Args:
        body: The body that was, or could not be, written.
        settings: What to do about missing values and decimals.

    Raises:
        PayloadError: A value cannot be sent.
    """
    for row, column, value in cells(body):
        problem = fault(value, settings)
        if problem is not None and row is None and column in body:
            raise refused(f"In {column}: {problem}")
        if problem is not None:
            raise refused(problem, row=row, column=column)


Cell = tuple["int | None", "str | None", Any]
"""Row, column and value; the position in the row stands for a column without a name."""


def cells(body: Mapping[str, Any]) -> Iterator[Cell]:
    """Every value of a body with its row and column, in the order they are written."""
    for key, content in body.items():
        if type(key) is not str:
            yield None, str(key), {key: None}
        elif key == "dataframe_split" and isinstance(content, dict):
            yield from _split_cells(content)
        elif key not in TABULAR:
            yield None, key, content
        elif isinstance(content, dict):
            for name, values in content.items():
                yield from _column_cells(name, values)
        else:
            yield from _row_cells(content, ())


def _split_cells(split: Mapping[str, Any]) -> Iterator[Cell]:
    names = split.get("columns")
    known = names if isinstance(names, (list, tuple)) else ()
    for name in known:
        yield None, str(name), name
    yield from _row_cells(split.get("data"), known)
    for key, content in split.items():
        if key not in {"columns", "data"}:
            yield None, str(key), content


def _column_cells(name: Any, values: Any) -> Iterator[Cell]:
    if type(name) is not str:
        yield None, str(name), {name: None}
    listed = values.tolist() if is_numpy(values) else values
    for row, value in enumerate(listed if isinstance(listed, (list, tuple)) else ()):
        yield row, name, value
    if listed is not values or not isinstance(values, (list, tuple)):
        yield None, name, values


def _row_cells(rows: Any, known: Any) -> Iterator[Cell]:
    if is_numpy(rows):
        yield from _row_cells(rows.tolist(), known)
    if not isinstance(rows, (list, tuple)):
        yield None, None, rows  # whole: a list made from an array no longer shows its NaT
        return
    for position, row in enumerate(rows):
        if isinstance(row, dict):
            for name, value in row.items():
                if type(name) is not str:
                    yield position, str(name), {name: None}
                yield position, str(name), value
        elif isinstance(row, list) or type(row) is tuple:
            for index, value in enumerate(row):
                yield position, str(known[index] if index < len(known) else index), value
        else:
            yield position, None, row
