"""Which columns of a frame are sent, which are kept, and whether that can be done at all.

Checked on the driver, before there is a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from servingclient.errors import ConfigError
from servingclient.payload.signature import Signature
from servingclient.settings import Payload

_NO_JSON = {
    "binary": "send text instead: base64(column)",
    "interval": "send seconds as a number",
    "calendarinterval": "send seconds as a number",
    "void": "cast it to a type, or leave it out",
    "variant": "send text instead: to_json(column)",
}
_SHOWN = 10


def column_names(df: Any) -> list[str]:
    """The names of a frame's columns.

    Raises:
        ConfigError: There are none, or two are the same.
    """
    if type(df).__name__ != "DataFrame" or not hasattr(df, "mapInArrow"):
        raise ConfigError(f"df is a {type(df).__name__}; give a DataFrame of Spark.")
    names = list(df.columns)
    if not names:
        raise ConfigError("The frame has no columns: there is nothing to send.")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(
            f"The frame has two columns {_listed(twice)}, so which is meant is not known. Rename "
            "one with toDF() or select()."
        )
    return names


def chosen(argument: str, wanted: Sequence[str] | None, names: list[str]) -> list[str]:
    """The columns a caller chose; all without a choice.

    Raises:
        ConfigError: It is no list of names, or a name is none of the frame's or stands there twice.
    """
    if wanted is None:
        return names
    picked = _checked(argument, wanted)
    if absent := [name for name in picked if name not in names]:
        raise ConfigError(
            f"{argument} names what the frame does not have: {_listed(absent)}. It has "
            f"{_listed(names)}."
        )
    return picked


def _checked(argument: str, wanted: object) -> list[str]:
    if isinstance(wanted, (str, bytes)) or not isinstance(wanted, Sequence):
        raise ConfigError(f"{argument} must be a list of names, not {repr(wanted)[:40]}.")
    if not all(isinstance(name, str) for name in wanted) or len(set(wanted)) < len(wanted):
        raise ConfigError(f"{argument} must be a list of names, each of them once.")
    return list(wanted)


def check_new(made: tuple[Any, Any], kept: Iterable[str]) -> None:
    """Refuse names for the new columns that are none, the same, or taken.

    Raises:
        ConfigError: They are.
    """
    for name in made:
        if not isinstance(name, str) or not name:
            raise ConfigError("prediction_column and error_column must be names that are text.")
    if made[0].lower() == made[1].lower():
        raise ConfigError(f"prediction_column and error_column are both {made[0]!r}.")
    lowered = {name.lower() for name in kept}  # Spark tells no capital from small letters
    if taken := [name for name in made if name.lower() in lowered]:
        raise ConfigError(
            f"The frame has {_listed(taken)} already. Choose another prediction_column or "
            "error_column, or leave it out of keep."
        )


def sent(wanted: Sequence[str] | None, names: list[str], signature: Signature | None) -> list[str]:
    """The columns to send.

    Args:
        wanted: As the caller chose; None takes what the model knows.
        names: What the frame has.
        signature: What the model takes; None when that is not known.

    Raises:
        ConfigError: The model needs a column that is not among them.
    """
    picked = chosen("columns", wanted, names)
    if not picked:
        raise ConfigError("columns is empty: there is nothing to send.")
    if signature is None:
        return picked
    absent = [name for name in signature.required if name not in picked]
    if absent:
        where = "The frame lacks" if wanted is None else "columns leaves out"
        raise ConfigError(
            f"{where} what the model needs: {_listed(absent)}. Add it, or rename the column that "
            "holds it; capital and small letters count."
        )
    if wanted is not None:
        return picked
    return [name for name in picked if name in signature.columns] or picked


def arguments(wanted: Sequence[str] | None, signature: Signature | None) -> list[str] | None:
    """Names of the arguments of a function; None when only a struct can tell them.

    Raises:
        ConfigError: The model needs a column that is not among them.
    """
    if wanted is None:
        return None if signature is None else list(signature.columns)
    picked = _checked("columns", wanted)
    return sent(picked, picked, signature)


def check_types(schema: Any, names: Iterable[str], settings: Payload) -> None:
    """Refuse columns of which no value could be sent.

    Raises:
        ConfigError: There is one.
    """
    for name in names:
        kind = schema[name].dataType.typeName()
        remedy = _NO_JSON.get(kind) or _NO_JSON.get(kind.partition(" ")[0])
        if "interval" in kind:
            remedy = _NO_JSON["interval"]
        if kind.startswith("decimal") and settings.decimal == "raise":
            remedy = "cast it to double, or say how with Payload.decimal in settings"
        if remedy is not None:
            raise ConfigError(
                f"Column {name!r} is of type {kind}, which has no JSON form: {remedy}."
            )


def narrow(df: Any, names: list[str]) -> Any:
    """The frame with these columns alone, under names ``mapInArrow`` takes.

    pyspark looks them up unquoted there, where ``a.b`` would be field ``b`` of column ``a``.
    """
    plain = not any(mark in name for name in names for mark in ".`")
    if plain and names == list(df.columns):
        return df
    quoted = ["`" + name.replace("`", "``") + "`" for name in names]
    aliases = names if plain else [f"c{number}" for number in range(len(names))]
    return df.select([df[one].alias(alias) for one, alias in zip(quoted, aliases, strict=True)])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
