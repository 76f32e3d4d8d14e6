"""The default model of each kind: deterministic, so that a client can compute what it must get."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, ValuesView
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from servingclient.emulator.endpoints import EndpointSpec, Model
    from servingclient.emulator.scoring import Parsed


def predict(spec: EndpointSpec, parsed: Parsed) -> Any:
    """Run the model of an endpoint that brought none of its own."""
    if spec.echo is not None:
        return _column(parsed, spec.echo)
    return _DEFAULTS[spec.kind](parsed)


def check_poison(parsed: Parsed, poison: object) -> None:
    """Fail as a model does that cannot digest a value.

    Raises:
        ValueError: when a row holds it.
    """
    data = parsed.data
    rows = data.values() if isinstance(data, dict) else data if isinstance(data, list) else [data]
    if any(poison in _cells(row) for row in rows):
        raise ValueError(f"cannot score a row that holds {poison!r}")


def _cells(row: Any) -> Collection[Any]:
    if isinstance(row, dict):
        return row.values()
    return row if isinstance(row, list) else (row,)


def _column(parsed: Parsed, name: str) -> Any:
    if isinstance(parsed.data, dict):
        return parsed.data[name]
    return [row[name] for row in parsed.data]


def takes_params(model: Model) -> bool:
    """Tell whether a callable wants ``params=``."""
    try:
        return "params" in inspect.signature(model).parameters
    except (TypeError, ValueError):
        return False


def row_sum(values: Any) -> float:
    """Return the sum of all numbers in a value, exactly rounded: order does not matter.

    Booleans count as 0 and 1, everything that is no number as 0.
    """
    if isinstance(values, dict):
        values = values.values()
    try:
        return math.fsum(values)  # a flat row of numbers, nearly always
    except (TypeError, OverflowError, ValueError):
        pass
    numbers: list[float] = []
    _collect(values, numbers)
    try:
        return math.fsum(numbers)
    except OverflowError:
        return math.inf
    except ValueError:  # infinities of both signs
        return math.nan


def _collect(value: Any, into: list[float]) -> None:
    if isinstance(value, (int, float)):
        into.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            _collect(item, into)
    elif isinstance(value, (list, ValuesView)):
        for item in value:
            _collect(item, into)


def _sums(parsed: Parsed) -> Any:
    data = parsed.data
    if parsed.form == "inputs" and isinstance(data, dict):
        columns = [column if isinstance(column, list) else [column] for column in data.values()]
        return [row_sum(list(row)) for row in zip(*columns, strict=False)]
    if isinstance(data, list):
        return [row_sum(row) for row in data]
    return row_sum(data)


def _features(parsed: Parsed) -> Any:
    rows = parsed.data if isinstance(parsed.data, list) else []
    return [{**row, "feature_sum": row_sum(row)} for row in rows]


def _agent(parsed: Parsed) -> Any:
    asked = parsed.data if isinstance(parsed.data, dict) else {}
    messages = asked.get("messages") or asked.get("input") or asked.get("prompt") or ""
    last = messages[-1] if isinstance(messages, list) and messages else messages
    text = last.get("content", "") if isinstance(last, dict) else last
    return str(text)


_DEFAULTS = {"custom": _sums, "feature": _features, "agent": _agent}
