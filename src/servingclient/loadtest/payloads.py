"""Inputs of calls from a file, or the standard input: JSON, JSON lines, CSV or Parquet."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from servingclient.errors import ConfigError
from servingclient.payload.body import is_body
from servingclient.payload.csv_rows import csv_rows

_BODIES: Final = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})
STANDARD_INPUT: Final = "-"
"""As the name of a file: JSON or JSON lines."""
MOST_INPUTS: Final = 10_000
"""Different inputs that are kept; they are sent in turn."""


def read(path: str | Path, *, rows: int = 1) -> list[Any]:
    """The inputs that a file holds: the first 10,000, as what comes after them is not read.

    A JSON file with a request body, such as ``{"dataframe_split": ...}`` or ``{"messages": ...}``,
    is one input, and a list of bodies several. Anything else is rows, of which each input has so
    many.

    Args:
        path: Ends in .json, .jsonl, .csv or .parquet; ``"-"`` is JSON or JSON lines from the
            standard input.
        rows: Rows of one call.

    Raises:
        ConfigError: It cannot be read, or holds nothing to send.
    """
    piped, file = str(path) == STANDARD_INPUT, Path(path)
    name = "The standard input" if piped else file.name
    reader = _piped if piped else _READERS.get(file.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"{name}: payloads are read from {', '.join(_READERS)}, told by the file's name."
        )
    if rows < 1:
        raise ConfigError("A call needs at least one row.")
    try:
        found = reader(file, rows)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or error}.") from None
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    except (ValueError, RecursionError):
        holds = "hold JSON or JSON lines" if piped else "hold what its name says"
        raise ConfigError(f"{name} does not {holds}; nothing was sent.") from None
    if not found:
        raise ConfigError(f"{name} holds no row to send.")
    return found


def _inputs(items: Iterable[Any], rows: int) -> list[Any]:
    """Bodies as they are; rows, so many an input. No more is read than is kept."""
    found = list(islice(items, MOST_INPUTS * rows))
    if all(map(_is_body, found)):
        return found[:MOST_INPUTS]
    return [found[at : at + rows] for at in range(0, len(found), rows)]


def _is_body(value: Any) -> bool:
    """Also among others, where a row may have columns with the names that bodies have."""
    return isinstance(value, dict) and (bool(_BODIES & value.keys()) or _is_chat(value))


def _is_chat(value: dict[str, Any]) -> bool:
    messages = value.get("messages")
    return isinstance(messages, list) and all(isinstance(one, dict) for one in messages)


def _json(file: Path, rows: int) -> list[Any]:
    return _document(json.loads(file.read_bytes()), rows)


def _document(found: Any, rows: int) -> list[Any]:
    if isinstance(found, dict) and is_body(found):
        return [found]
    return _inputs(found if isinstance(found, list) else [found], rows)


def _json_lines(file: Path, rows: int) -> list[Any]:
    with file.open(encoding="utf-8-sig") as text:
        return _inputs(map(json.loads, filter(str.strip, text)), rows)


def _csv(file: Path, rows: int) -> list[Any]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        return _inputs(csv_rows(text), rows)


def _parquet(file: Path, rows: int) -> list[Any]:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ConfigError("reading Parquet needs pyarrow: pip install pyarrow.") from None

    def items() -> Iterator[Any]:
        with ParquetFile(file) as table:
            for batch in table.iter_batches():
                yield from batch.to_pylist()

    return _inputs(items(), rows)


def _piped(_: Path, rows: int) -> list[Any]:
    """One JSON document; else one a line."""
    if sys.stdin is None:
        raise ConfigError("it is closed; pipe something in, or name a file.")
    given = getattr(sys.stdin, "buffer", sys.stdin).read()
    text = given.decode("utf-8-sig") if isinstance(given, bytes) else str(given)
    try:
        found = json.loads(text)
    except ValueError:
        return _inputs(map(json.loads, filter(str.strip, text.split("\n"))), rows)
    return _document(found, rows)


_READERS: Final = {".json": _json, ".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
