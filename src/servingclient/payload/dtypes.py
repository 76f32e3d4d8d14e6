"""What is known of numpy's types: which can be sent, what counts as missing, how each is written.

numpy is never imported here: an array can only arrive when numpy is loaded already.

float32 and float16 print in their shortest form (``0.1``, not ``0.10000000149011612``): half the
bytes, and the model reads back the same float32.
"""

from __future__ import annotations

import sys
from typing import Any

import orjson

from servingclient.payload.refusals import UnfitError

NATIVE = orjson.OPT_SERIALIZE_NUMPY
"""For data checked before: with numpy allowed, orjson writes NaT as a date in 1677."""


def numpy() -> Any:
    """numpy, if someone loaded it; None otherwise."""
    return sys.modules.get("numpy")


def is_numpy(value: object) -> bool:
    """Whether ``value`` is an array or scalar of numpy."""
    np = numpy()
    return np is not None and isinstance(value, (np.ndarray, np.generic))


def unfit(array: Any) -> str | None:
    """Why an array cannot be sent whatever it holds, as the end of "The array ...".

    Args:
        array: Any array.

    Returns:
        Shape or dtype and the remedy; None when it can be sent.
    """
    if array.ndim == 0:
        return "has shape (): a single value. Reshape it to one row, or pass array.item()."
    if array.size == 0:
        return f"has shape {array.shape}: 0 rows or no values, nothing to score."
    dtype = array.dtype
    if dtype.names is not None:
        return "has a structured dtype. Pass it by itself, or its fields as a dict of columns."
    if dtype.kind in "biuMOUT" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return None
    return f"has dtype {dtype}, {_REMEDIES.get(dtype.kind, _OTHER)}"


_REMEDIES = {
    "f": "which JSON cannot carry exactly. Convert it with astype('float64').",
    "c": "which JSON has no form for. Send its real and imaginary parts.",
    "m": "which JSON has no form for. Send seconds: array / numpy.timedelta64(1, 's').",
    "S": "which is bytes. Convert it with astype(str), or base64-encode it for a binary column.",
    "V": "which is raw memory. View it as the type it holds.",
}
_OTHER = "which JSON has no form for. Convert it to numbers or text."


def missing_mask(array: Any) -> Any:
    """True where a value is NaN, infinite, NaT or masked; None when there is no such value."""
    np = numpy()
    masked = isinstance(array, np.ma.MaskedArray)
    data = array.data if masked else array
    gone = None
    if array.dtype.kind == "f":
        finite = np.isfinite(data)
        gone = None if finite.all() else ~finite
    elif array.dtype.kind == "M":
        nat = np.isnat(data)
        gone = nat if nat.any() else None
    if masked:
        mask = np.ma.getmaskarray(array)
        gone = mask if gone is None else gone | mask
        gone = gone if gone.any() else None
    return gone


def missing_class(array: Any, index: tuple[int, ...]) -> str:
    """What the missing value at ``index`` is, in a word."""
    np = numpy()
    if isinstance(array, np.ma.MaskedArray) and np.ma.getmaskarray(array)[index]:
        return "masked"
    if array.dtype.kind == "M":
        return "missing (NaT)"
    return "NaN" if np.isnan(array[index]) else "infinite"


def writable(array: Any, gone: Any, *, fraction: bool = False) -> Any:
    """A fit array as something orjson writes with :data:`NATIVE`.

    Args:
        array: An array :func:`unfit` has nothing against, not of dtype object.
        gone: Its :func:`missing_mask`; these become null.
        fraction: Write every time with its fraction, also where no other in the array has one.

    Returns:
        A native, C-contiguous array, or nested lists where orjson takes none.

    Raises:
        UnfitError: A date lies outside what ISO text can say.
    """
    np = numpy()
    if isinstance(array, np.ma.MaskedArray):
        if gone is not None and array.dtype.kind != "M":
            values = np.asarray(array.data).astype(object)
            values[gone] = None
            return values.tolist()
        array = np.asarray(array.data)
    if array.dtype.kind == "M":
        return _iso(array, gone, fraction=fraction)
    if array.dtype.kind in "UT":
        return array.tolist()
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return np.ascontiguousarray(array)


def _iso(array: Any, gone: Any, *, fraction: bool) -> Any:
    """Nested lists of naive datetimes or of ISO text, all with a fraction or all without."""
    np = numpy()
    if gone is not None:
        array = np.where(gone, np.array("NaT", array.dtype), array)  # a mask hides times
    coarse = array.astype("M8[us]")
    same = coarse.astype(array.dtype) == array
    if not (same if gone is None else same | gone).all():
        if np.datetime_data(array.dtype)[0] not in {"ns", "ps", "fs", "as"}:
            raise UnfitError(YEARS)
        return _texts(array, gone)
    ticks = (coarse if gone is None else coarse[~gone]).view("i8")
    if ticks.size and (ticks.min() < _FIRST_US or ticks.max() > _LAST_US):
        raise UnfitError(YEARS)  # numpy would make plain integers of them
    fractions = ticks % 1_000_000 != 0
    if (fraction or fractions.any()) and not fractions.all():
        return _texts(coarse, gone)
    return coarse.tolist()


_FIRST_US = -62_135_596_800_000_000
_LAST_US = 253_402_300_799_999_999
"""The years 1 to 9999, which Python's datetime can hold, in microseconds since 1970."""

YEARS = "a date outside the years 1 to 9999. Correct it, or send a number."


def _texts(array: Any, gone: Any) -> Any:
    texts = array.astype(str).astype(object)
    if gone is not None:
        texts[gone] = None
    return texts.tolist()


def dumped(array: Any, gone: Any) -> bytes:
    """A fit array inside a cell as JSON text, with null for what is missing."""
    return orjson.dumps(writable(array, gone, fraction=True), None, NATIVE)
