"""Predictions as a column of the type a job promised.

JSON has fewer types than Spark. A value fits where it means the same in both: a whole number in a
column of doubles, an ISO text as a time, base64 as bytes. Arrow by itself would make 1 of 1.5.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, timezone
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from servingclient.errors import ConfigError

Convert = Callable[[Any], Any]


class Misfit(Exception):  # noqa: N818 - one row's finding, never raised to a caller
    """A prediction is not of the type; says what it is instead, without its value."""


class Fitting(NamedTuple):
    """How predictions become a column.

    Attributes:
        arrow: Its Arrow type.
        convert: Makes a value one that Arrow takes as it is.
        plain: Python types of values that need no conversion.
    """

    arrow: Any
    convert: Convert
    plain: frozenset[type]

    def column(self, values: list[Any], errors: list[str | None]) -> Any:
        """Predictions as an Arrow array; one that does not fit is null, and has an error."""
        import pyarrow as pa

        if set(map(type, values)) <= self.plain:
            try:
                return pa.array(values, self.arrow)
            except (pa.ArrowInvalid, OverflowError):  # some number is too large: look at each
                pass
        return pa.array([self._one(row, values, errors) for row in range(len(values))], self.arrow)

    def _one(self, row: int, values: list[Any], errors: list[str | None]) -> Any:
        value = values[row]
        if value is None:
            return None
        try:
            return self.convert(value)
        except Misfit as wrong:
            errors[row] = (
                f"PredictionType: the prediction is {wrong}, and result_type says {self.arrow}. "
                "Give another result_type, or have the model answer that."
            )
            return None


def fitting(kind: Any) -> Fitting:
    """How predictions become a column of a Spark type.

    Args:
        kind: A ``pyspark.sql.types.DataType``.

    Raises:
        ConfigError: JSON has nothing that could be of the type.
    """
    import pyarrow as pa

    name = kind.typeName()
    if name in _WHOLE:
        bits = _WHOLE[name]
        return Fitting(getattr(pa, f"int{bits}")(), _whole(bits), frozenset({int, _NONE}))
    if name == "double":
        return Fitting(pa.float64(), _double, frozenset({float, int, _NONE}))
    if name == "float":
        return Fitting(pa.float32(), _single, frozenset({_NONE}))
    if name == "boolean":
        return Fitting(pa.bool_(), _of(bool), frozenset({bool, _NONE}))
    if name == "string":
        return Fitting(pa.string(), _of(str), frozenset({str, _NONE}))
    if name in _TEXTS:
        arrow, convert = _TEXTS[name]
        return Fitting(arrow(pa), convert, frozenset({_NONE}))
    if name.startswith("decimal"):
        arrow = pa.decimal128(kind.precision, kind.scale)
        return Fitting(arrow, _decimal(kind.precision, kind.scale), frozenset({_NONE}))
    if name == "array":
        items = fitting(kind.elementType)
        return Fitting(pa.list_(items.arrow), _list(items.convert), frozenset({_NONE}))
    if name == "map" and kind.keyType.typeName() == "string":
        items = fitting(kind.valueType)
        arrow = pa.map_(pa.string(), items.arrow)
        return Fitting(arrow, _map(items.convert), frozenset({_NONE}))
    if name == "struct":
        fields = {field.name: fitting(field.dataType) for field in kind.fields}
        arrow = pa.struct([(field, one.arrow) for field, one in fields.items()])
        convert = _struct({field: one.convert for field, one in fields.items()})
        return Fitting(arrow, convert, frozenset({_NONE}))
    raise ConfigError(
        f"result_type holds {kind.simpleString()[:60]}, which predictions in JSON are not of. Take "
        "numbers, text, truth values, times, bytes, and arrays, maps with text keys and structs of "
        "them."
    )


_NONE: Final = type(None)
_WHOLE: Final = {"byte": 8, "short": 16, "integer": 32, "long": 64}
_MOST_SINGLE: Final = 2.0**128 - 2.0**103  # from here on 32 bits make it infinite


def _said(value: object) -> str:
    names = {bool: "a truth value", int: "a whole number", float: "a number", str: "text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def _of(kind: type) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) is not kind:
            raise Misfit(_said(value))
        return value

    return convert


def _whole(bits: int) -> Convert:
    most = 2 ** (bits - 1)

    def convert(value: Any) -> int:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise Misfit("a fraction" if type(value) is float else _said(value))
        if not -most <= value < most:
            raise Misfit(f"a number beyond {bits} bits")
        return value

    return convert


def _double(value: Any) -> float:
    if type(value) not in (int, float):
        raise Misfit(_said(value))
    try:
        return float(value)
    except OverflowError:
        raise Misfit("a number beyond 64 bits") from None


def _single(value: Any) -> float:
    found = _double(value)
    if math.isfinite(found) and abs(found) >= _MOST_SINGLE:
        raise Misfit("a number beyond 32 bits")
    return found


def _decimal(precision: int, scale: int) -> Convert:
    context, step = Context(prec=precision), Decimal(1).scaleb(-scale)

    def convert(value: Any) -> Decimal:
        if type(value) not in (int, float, str):
            raise Misfit(_said(value))
        try:  # by way of text: 0.1 is meant, not the double next to it
            return Decimal(str(value)).quantize(step, context=context)
        except InvalidOperation:
            raise Misfit(f"{_said(value)} that has no place there") from None

    return convert


def _parsed_time(value: Any) -> datetime:
    if type(value) is not str:
        raise Misfit(_said(value))
    head, dot, fraction = value.replace("Z", "+00:00").partition(".")
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    # Python 3.10 reads three or six digits alone, and no version nine of them
    text = f"{head}.{digits[:6].ljust(6, '0')}{fraction[len(digits) :]}" if dot else head
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Misfit("text that is no ISO time") from None


def _instant(value: Any) -> datetime:
    """Without a zone it is UTC, which MLflow's server writes."""
    found = _parsed_time(value)
    return found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found


def _local(value: Any) -> datetime:
    found = _parsed_time(value)
    if found.tzinfo is not None:
        raise Misfit("a time with a zone")
    return found


def _day(value: Any) -> date:
    if type(value) is not str:
        raise Misfit(_said(value))
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise Misfit("text that is no ISO date") from None


def _bytes(value: Any) -> bytes:
    if type(value) is not str:
        raise Misfit(_said(value))
    try:  # MLflow's server breaks it into lines
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Misfit("text that is no base64") from None


_TEXTS: Final[Mapping[str, tuple[Callable[[Any], Any], Convert]]] = {
    "timestamp": (lambda pa: pa.timestamp("us", tz="UTC"), _instant),
    "timestamp_ntz": (lambda pa: pa.timestamp("us"), _local),
    "date": (lambda pa: pa.date32(), _day),
    "binary": (lambda pa: pa.binary(), _bytes),
}


def _list(convert: Convert) -> Convert:
    def made(value: Any) -> list[Any]:
        if type(value) is not list:
            raise Misfit(_said(value))
        return [None if one is None else convert(one) for one in value]

    return made


def _map(convert: Convert) -> Convert:
    def made(value: Any) -> list[tuple[str, Any]]:
        if type(value) is not dict:
            raise Misfit(_said(value))
        return [(key, None if one is None else convert(one)) for key, one in value.items()]

    return made


def _struct(fields: Mapping[str, Convert]) -> Convert:
    def made(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Misfit(_said(value))
        found = {}
        for name, convert in fields.items():
            if name not in value:
                raise Misfit(f"an object without {name[:60]!r}")
            one = value[name]
            found[name] = None if one is None else convert(one)
        return found

    return made
