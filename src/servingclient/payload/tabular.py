"""Predictions as a frame or an array. pandas and numpy are imported by who asks for one."""

from __future__ import annotations

from typing import Any, NoReturn


def frame_of(predictions: Any) -> Any:
    """See ``Prediction.to_pandas``."""
    import pandas as pd

    if isinstance(predictions, pd.DataFrame):
        return predictions
    values = _unnamed(_plain(predictions))
    if isinstance(values, dict):
        return pd.DataFrame(_columns(values))
    if not isinstance(values, list):
        return pd.DataFrame({"prediction": [values]})
    kinds = set(map(type, values))
    if kinds == {dict}:
        return pd.DataFrame(values)
    if kinds == {list}:
        if len(set(map(len, values))) > 1:
            _refuse("lists of different lengths")
        return pd.DataFrame(values)
    if kinds & {dict, list}:
        _refuse("lists or dicts mixed with other values")
    return pd.DataFrame({"prediction": values})


def array_of(predictions: Any) -> Any:
    """See ``Prediction.to_numpy``."""
    import numpy as np

    if isinstance(predictions, np.ndarray):
        return predictions
    if hasattr(predictions, "to_numpy"):
        return predictions.to_numpy()
    values = _unnamed(_plain(predictions))
    kinds: set[type] = set()
    shape = _shape(values, kinds)
    if kinds <= {int, float} or len(kinds) <= 1:
        made = np.array(values).reshape(shape)
        if kinds != {int} or made.dtype.kind in "iu":  # numpy may take large integers for floats
            return made
    array = np.empty(shape, dtype=object)
    array[...] = np.array(values, dtype=object).reshape(shape)
    return array


def _plain(values: Any) -> Any:
    """Lists in place of what stands for one: the model never returns such, a function may."""
    if isinstance(values, tuple):
        return list(values)
    return values.tolist() if hasattr(values, "tolist") else values


def _unnamed(values: Any) -> Any:
    """A Series of the model arrives as ``[{"0": 3.5}, ...]``: its values alone."""
    if (
        isinstance(values, list)
        and values
        and all(type(row) is dict and len(row) == 1 and "0" in row for row in values)
    ):
        return [row["0"] for row in values]
    return values


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    lists = [value for value in values.values() if isinstance(value, list)]
    if not lists:
        return {name: [value] for name, value in values.items()}
    if len(lists) < len(values) or len(set(map(len, lists))) > 1:
        _refuse("a dict whose values are no lists of one length")
    return values


def _shape(values: Any, kinds: set[type]) -> tuple[int, ...]:
    """The shape of nested lists; adds the types of the leaves to ``kinds``."""
    if isinstance(values, dict):
        _refuse("dicts")
    if not isinstance(values, list):
        kinds.add(type(values))
        return ()
    inner = set(map(type, values))
    if not inner & {list, dict}:
        kinds |= inner
        return (len(values),)
    shapes = {_shape(value, kinds) for value in values}
    if len(shapes) > 1:
        _refuse("lists of different lengths")
    return (len(values), *shapes.pop())


def _refuse(what: str) -> NoReturn:
    raise ValueError(
        f"The predictions hold {what}, which do not fit one table or array. Take them from "
        ".predictions as they are."
    )
