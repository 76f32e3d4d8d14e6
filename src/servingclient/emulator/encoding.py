"""Predictions as JSON as the reference server writes them: bare NaN, ``"0"``, base64 lines."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from typing import Any

import msgpack

from servingclient.emulator import json_text


def encode(key: str | None, predictions: Any) -> bytes:
    """Return ``{key: predictions}`` as JSON, or the bare value when there is no key.

    Raises:
        TypeError: when a value has no JSON form, as in the reference server.
    """
    value = _plain(predictions)
    whole = value if key is None else {key: value}
    if _finite_floats(value):
        return json_text.dumps(whole)
    return json.dumps(whole, default=_default).encode()


def pack(key: str | None, predictions: Any) -> bytes:
    """Return the same as MessagePack."""
    value = _plain(predictions)
    packed: bytes = msgpack.packb(value if key is None else {key: value}, default=_default)
    return packed


def _finite_floats(value: Any) -> bool:
    """Tell whether the fast writer, which would turn NaN into null, gives the same text."""
    if type(value) is not list or not value or type(value[0]) is not float:
        return False
    try:
        return math.isfinite(math.fsum(value))
    except (TypeError, OverflowError, ValueError):
        return False


def _plain(value: Any) -> Any:
    """Unfold frames, series and arrays; they are recognised by what they can do, never imported."""
    if hasattr(value, "to_frame") and hasattr(value, "to_dict"):
        value = value.to_frame()
    if hasattr(value, "columns") and hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return value.tolist()
    return value


def _default(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return base64.encodebytes(value).decode("ascii")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    unfolded = _plain(value)
    if unfolded is value:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return unfolded
