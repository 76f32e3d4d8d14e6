"""numpy arrays as inputs: checked as a whole, then handed to orjson in their own type."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from servingclient.payload import dtypes, narrow
from servingclient.payload.refusals import UnfitError, missing, refused
from servingclient.payload.values import STRICT, fault, listed, stand_in
from servingclient.settings import Payload


def column(array: Any, name: str, settings: Payload, *, none_missing: bool = False) -> list[Any]:
    """A one-dimensional array as a list of values orjson writes with ``dtypes.NATIVE``.

    Args:
        array: Shape ``(rows,)``.
        name: Name of the column, for messages.
        settings: What to do about missing values and decimals.
        none_missing: Whether ``None`` in an object array counts as missing.

    Returns:
        The values, exact; ``None`` where one is missing and may be.

    Raises:
        PayloadError: A value or the dtype cannot be sent.
    """
    kind = array.dtype.kind
    if kind in "iub" and array.ndim == 1 and array.size and type(array) is dtypes.numpy().ndarray:
        whole: list[Any] = array.tolist()  # nothing to look for, which is most of the time
        return whole
    if kind == "O" and array.size:
        return listed(array.tolist(), name, settings, none_missing=none_missing)
    values = tensor(array, settings, name=name)
    if isinstance(values, list):
        return values
    # numpy's own scalars keep the shortest form of a narrow float
    short = values.dtype.kind == "f" and values.dtype.itemsize < 8
    return list(values if short else values.tolist())


def tensor(
    array: Any, settings: Payload, *, name: str | None = None, names: list[str] | None = None
) -> Any:
    """An array of any shape as something orjson writes with ``dtypes.NATIVE``.

    Args:
        array: The array.
        settings: What to do about missing values and decimals.
        name: Its own name, if it has one, for messages.
        names: Names of the columns of a two-dimensional array, for messages.

    Returns:
        A native, C-contiguous array, or nested lists or a fragment where orjson takes none.

    Raises:
        PayloadError: A value, the dtype or the shape cannot be sent.
    """
    problem = dtypes.unfit(array)
    if problem is not None:
        raise refused(f"The array {problem}", column=name)
    if array.dtype.kind == "O":
        return _objects(array, settings, name, names)
    gone = dtypes.missing_mask(array)
    if gone is not None and settings.nan == "raise":
        index = tuple(int(axis[0]) for axis in gone.nonzero())
        what = str(missing(dtypes.missing_class(array, index), settings))
        raise refused(what, row=index[0], column=_column(index, name, names))
    try:
        return dtypes.writable(narrow.array(array, settings), gone)
    except UnfitError as error:
        raise refused(f"The array holds {error}", column=name) from None


def _objects(array: Any, settings: Payload, name: str | None, names: list[str] | None) -> object:
    for index in dtypes.numpy().ndindex(array.shape):
        problem = fault(array[index], settings)
        if problem is not None:
            raise refused(problem, row=index[0], column=_column(index, name, names))
    default = partial(stand_in, decimal=settings.decimal)
    found = array.tolist()
    if narrow.is_on(settings):
        found = narrow.value(found, settings)
    return orjson.Fragment(orjson.dumps(found, default, STRICT))


def _column(index: tuple[int, ...], name: str | None, names: list[str] | None) -> str | None:
    """The column of a position: its name, or the position in the row as text."""
    if names is not None:
        return names[index[1]]
    inner = ",".join(map(str, index[1:]))
    if name is None:
        return inner or None
    return f"{name}[{inner}]" if inner else name
