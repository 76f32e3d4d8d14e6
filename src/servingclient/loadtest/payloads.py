"""Inputs of calls from a file: JSON, JSON lines, CSV or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from servingclient.errors import ConfigError
from servingclient.payload.csv_rows import csv_rows

_BODIES: Final = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})
MOST_INPUTS: Final = 10_000
"""Different inputs that are kept; they are sent in turn."""


def read(path: str | Path, *, rows: int = 1) -> list[Any]:
    """The inputs that a file holds.

    A JSON file with a request body, such as ``{"dataframe_split": ...}``, is one input, and a list
    of bodies several. Anything else is rows, of which each input has so many.

    Args:
        path: Ends in .json, .jsonl, .csv or .parquet.
        rows: Rows of one call.

    Raises:
        ConfigError: It cannot be read, or holds nothing to send.
    """
    file = Path(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"{file.name}: payloads are read from {', '.join(_READERS)}, told by the file's name."
        )
    if rows < 1:
        raise ConfigError("A call needs at least one row.")
    try:
        found = reader(file)
    except OSError as error:
        raise ConfigError(f"{file.name} cannot be read: {error.strerror or error}.") from None
    except ConfigError as error:
        raise ConfigError(f"{file.name}: {error}") from None
    except (ValueError, RecursionError):
        raise ConfigError(
            f"{file.name} does not hold what its name says; nothing was sent."
        ) from None
    bodies = found if all(map(_is_body, found)) else list(_calls(found, rows))
    if not bodies:
        raise ConfigError(f"{file.name} holds no row to send.")
    return bodies[:MOST_INPUTS]


def _is_body(value: Any) -> bool:
    return isinstance(value, dict) and bool(_BODIES & value.keys())


def _calls(rows: Sequence[Any], size: int) -> Iterable[list[Any]]:
    some = iter(rows)
    return iter(lambda: list(islice(some, size)), [])


def _json(file: Path) -> list[Any]:
    found = json.loads(file.read_bytes())
    return found if isinstance(found, list) else [found]


def _json_lines(file: Path) -> list[Any]:
    return [
        json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()
    ]


def _csv(file: Path) -> list[Any]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        return list(csv_rows(text))


def _parquet(file: Path) -> list[Any]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ConfigError("reading Parquet needs pyarrow: pip install pyarrow.") from None
    rows: list[Any] = parquet.read_table(file).to_pylist()
    return rows


_READERS: Final = {".json": _json, ".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
