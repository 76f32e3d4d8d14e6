"""Fewer digits where the settings ask for it: floats to 32 bits, or to some significant digits.

Only floats lose anything; whole numbers, texts and times stay as they are. How much it was is
measured from the finished bodies (``payload/explain.py``).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import isfinite
from typing import Any

from servingclient.payload import dtypes
from servingclient.payload.refusals import UnfitError, refused
from servingclient.settings import Payload

BEYOND = (
    "a float beyond 3.4e38, the largest of 32 bits. Send this input with "
    "Settings(payload=Payload(floats='exact'))."
)


def is_on(settings: Payload) -> bool:
    """Whether floats are to lose digits."""
    return settings.floats != "exact" or settings.significant_digits is not None


# ------------------------------------------------------------------------------- arrays


def array(values: Any, settings: Payload) -> Any:
    """An array of floats with fewer digits to print; any other array as it is.

    Args:
        values: Any array. NaN and infinities stay what they are.
        settings: What to lose.

    Returns:
        An array of the same shape.

    Raises:
        UnfitError: A value is beyond 32 bits.
    """
    if values.dtype.kind != "f" or not is_on(settings):
        return values
    np, digits = dtypes.numpy(), settings.significant_digits
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.array(array(values.data, settings), mask=values.mask)
    if settings.floats == "float32" and values.dtype.itemsize > 4:
        values = _single(values)
    if digits is None or (values.dtype.itemsize <= 4 and digits >= _SINGLE_DIGITS):
        return values
    return _rounded(values, digits)


def _single(values: Any) -> Any:
    np = dtypes.numpy()
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    if not np.array_equal(np.isinf(short), np.isinf(values)):
        raise UnfitError(BEYOND)
    return short


_SINGLE_DIGITS = 9
"""No 32-bit float prints in more: rounding its double to as many could only make it longer."""

_POWERS = tuple(float(f"1e{places}") for places in range(23))
"""The powers of ten a double holds exactly. One multiplication or division by them gives the double
nearest to the decimal, which then prints in its few digits."""


def _rounded(values: Any, digits: int) -> Any:
    np = dtypes.numpy()
    wide = values.astype(np.float64)
    with np.errstate(all="ignore"):
        places = digits - 1 - np.floor(np.log10(np.abs(wide)))
    near = np.abs(places) < len(_POWERS)  # not so: zero, not finite, very small, very large
    power = np.array(_POWERS)[np.abs(np.where(near, places, 0.0)).astype(np.int64)]
    with np.errstate(all="ignore"):
        finer = np.rint(wide * power) / power
        coarser = np.rint(wide / power) * power
    rounded = np.where(near, np.where(places >= 0, finer, coarser), wide)
    far = ~near & np.isfinite(wide) & (wide != 0.0)
    for index in zip(*far.nonzero(), strict=True):
        rounded[index] = _rounded_one(float(wide[index]), digits)
    return rounded


# ------------------------------------------------------------------------------- Python values


def value(given: Any, settings: Payload) -> Any:
    """The same for Python data: every float in it, however deep.

    Args:
        given: A cell, row, column or whole input; never changed itself.
        settings: What to lose.

    Returns:
        ``given``, or a copy where it holds floats.

    Raises:
        UnfitError: A value is beyond 32 bits.
    """
    kind = type(given)
    if kind is float:
        return _one(given, settings)
    if kind is list or kind is tuple:
        return [value(item, settings) for item in given]
    if isinstance(given, Mapping):
        return {name: value(item, settings) for name, item in given.items()}
    if dtypes.is_numpy(given) and given.dtype.kind == "f":
        narrow = array(given.reshape(-1), settings).reshape(given.shape)
        return narrow if given.ndim else narrow[()]
    return given


def records(rows: list[Any], settings: Payload) -> list[Any]:
    """The same for rows, whose position a refusal names.

    Args:
        rows: Mappings, lists or single values.
        settings: What to lose.

    Returns:
        New rows.

    Raises:
        PayloadError: A value is beyond 32 bits.
    """
    made = []
    for position, row in enumerate(rows):
        try:
            made.append(value(row, settings))
        except UnfitError as error:
            raise refused(f"The row holds {error}", row=position) from None
    return made


def column(values: list[Any], name: str, settings: Payload) -> list[Any]:
    """The same for the values of one column.

    Args:
        values: The cells.
        name: Name of the column.
        settings: What to lose.

    Returns:
        New cells.

    Raises:
        PayloadError: A value is beyond 32 bits.
    """
    try:
        return [value(cell, settings) for cell in values]
    except UnfitError as error:
        raise refused(f"The column holds {error}", column=name) from None


def _one(given: float, settings: Payload) -> float:
    if not isfinite(given):
        return given
    if settings.floats == "float32":
        given = _single_one(given)
    if settings.significant_digits is not None:
        given = _rounded_one(given, settings.significant_digits)
    return given


_FLOAT32 = struct.Struct("<f")  # unlike "f" it raises where the float is too large


def _single_one(given: float) -> float:
    """The double that prints as the nearest 32-bit float does: 0.1, not 0.10000000149011612."""
    try:
        packed = _FLOAT32.pack(given)
    except OverflowError:
        raise UnfitError(BEYOND) from None
    (single,) = _FLOAT32.unpack(packed)
    for digits in (6, 7, 8):  # nine always do
        short = float(f"{single:.{digits}g}")
        if _FLOAT32.pack(short) == packed:
            return short
    return float(f"{single:.9g}")


def _rounded_one(given: float, digits: int) -> float:
    rounded = float(f"{given:.{digits - 1}e}")
    return rounded if isfinite(rounded) else given  # the largest of doubles cannot be rounded up
