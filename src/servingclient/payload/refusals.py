"""How a bad input is refused: one error that names row, column, class and remedy, no value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from servingclient.errors import PayloadError
from servingclient.settings import Payload


class UnfitError(TypeError):
    """A value JSON has no form for. Its text completes the sentence "The value is ..."."""


def refused(
    problem: str,
    *,
    row: int | None = None,
    column: str | None = None,
    kind: type[PayloadError] = PayloadError,
) -> PayloadError:
    """The error for one bad value, for the caller to raise.

    Args:
        problem: What is wrong with it and what to do, as full sentences.
        row: Its row, from 0.
        column: Its column.
        kind: The error's class.

    Returns:
        The error with ``row`` and ``column`` set.
    """
    places = [f"row {row}"] if row is not None else []
    if column is not None:
        places.append(f"column {shown(column)}")
    where = ", ".join(places)
    error = kind(f"{where[0].upper()}{where[1:]}: {problem}" if where else problem)
    error.row, error.column = row, column
    return error


def shown(name: object) -> str:
    """A name for a message: quoted, printable, at most 100 characters."""
    text = repr(name) if encodable(str(name)) else ascii(name)
    return text if len(text) <= 100 else f"{text[:97]}..."


def encodable(text: str) -> bool:
    """Whether ``text`` is free of lone surrogates, which UTF-8 does not have."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def missing(what: str, settings: Payload) -> str | None:
    """The problem with a value that is ``what``, or None when the policy is to send null."""
    if settings.nan == "null":
        return None
    return (
        f"The value is {what}. Fill or drop it, or send null with "
        "Settings(payload=Payload(nan='null'))."
    )


def column_names(names: Sequence[Any], settings: Payload) -> list[str]:
    """Column names as JSON takes them.

    Args:
        names: The names as the input has them.
        settings: ``stringify_columns`` decides about names that are no strings.

    Returns:
        The names as strings.

    Raises:
        PayloadError: A name is no string, or occurs twice.
    """
    strings = list(names)
    if set(map(type, strings)) != {str}:
        strings = [_column_name(name, settings) for name in strings]
    refuse_duplicates(strings)
    return strings


def refuse_duplicates(names: Sequence[Any]) -> None:
    """Raise if a column name occurs twice: pandas on the server would drop one in silence.

    Args:
        names: Column names.

    Raises:
        PayloadError: A name occurs twice.
    """
    if len(set(names)) != len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        listed = ", ".join(map(shown, twice[:10]))
        raise refused(
            f"Duplicate columns: {listed}. Give every column its own name.", column=str(twice[0])
        )


def _column_name(name: Any, settings: Payload) -> str:
    if isinstance(name, str) or settings.stringify_columns:
        return str(name)
    raise refused(
        f"The column name is of type {type(name).__name__}, not a string. Rename it, or convert "
        "all names with Settings(payload=Payload(stringify_columns=True)).",
        column=str(name),
    )
