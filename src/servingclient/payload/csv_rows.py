"""Rows of a CSV as inputs of a model: numbers where cells are numbers. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from servingclient.errors import ConfigError

_CELL_CHARACTERS: Final = 16 * 1024 * 1024
"""Longest cell of a CSV: no request is larger. The csv module alone would stop at 128 KiB."""


def csv_rows(source: Iterable[str], *, text: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a CSV, read as they are asked for.

    Args:
        source: Its lines, with their ends as they are.
        text: Columns that stay text though they look like numbers.

    Raises:
        ConfigError: While iterating: it is none, or its head would lose columns.
    """
    csv.field_size_limit(_CELL_CHARACTERS)
    reader = csv.DictReader(source, strict=True)
    try:
        _check_head(list(reader.fieldnames or ()), text)
        for row in reader:
            if None in row or None in row.values():
                raise ConfigError(
                    f"Line {reader.line_num} of the CSV has not as many cells as the head names; "
                    "nothing from it on was sent."
                )
            yield {name: cell if name in text else value_of(cell) for name, cell in row.items()}
    except csv.Error as error:
        raise ConfigError(f"Line {reader.line_num} of the CSV: {error}.") from None


def _check_head(names: list[str], text: Collection[str]) -> None:
    """Refuse a head whose columns would get lost, or be others than it says."""
    if len(names) == 1 and (mark := re.search("[;\t|]", names[0])):
        raise ConfigError(
            f"The head of the CSV is one name with {mark[0]!r} in it; cells are separated by "
            "commas, and decimals have a point."
        )
    if "" in names:
        raise ConfigError(
            f"Column {names.index('') + 1} of the CSV has no name; pandas writes the index so, "
            "unless to_csv(index=False)."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"The head of the CSV names a column twice: {', '.join(twice)}.")
    missing = sorted(set(text) - set(names))
    if missing:
        raise ConfigError(f"What is to stay text names no column: {', '.join(missing)}.")


_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,4300}")
"""Python's own int() takes 1_000 and digits of any script too, and at most 4,300 of them."""
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf|infinity)",
    re.IGNORECASE,
)
"""With NaN and infinity, which are refused with row and column, and not sent as text."""


def value_of(cell: str) -> Any:
    """A number where it is one, nothing where there is nothing, else text."""
    if not cell:
        return None
    written = cell.strip(" \t")
    if _INTEGER.fullmatch(written):
        return int(written)
    return float(written) if _NUMBER.fullmatch(written) else cell
