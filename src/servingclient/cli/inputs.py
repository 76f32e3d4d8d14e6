"""What ``predict``, ``map`` and ``explain`` send: from a file, or from the standard input."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from servingclient.errors import ConfigError
from servingclient.payload.body import is_body, is_column
from servingclient.payload.csv_rows import csv_rows

STANDARD_INPUT: Final = "-"
_FORMS: Final = ("json", "jsonl", "csv", "parquet")


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what is sent."""
    parser.add_argument(
        "--input",
        default=STANDARD_INPUT,
        metavar="FILE",
        help="what to score: .json .jsonl .csv .parquet, or - for the standard input (default)",
    )
    parser.add_argument(
        "--format",
        choices=_FORMS,
        help="what it holds; else its name tells, and the standard input is JSON or JSON lines",
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column of a CSV that stays text though it looks like numbers; may be repeated",
    )


def whole(given: argparse.Namespace) -> Any:
    """All of the input, as ``predict`` takes it: a body, columns, or rows.

    Raises:
        ConfigError: It cannot be read, or holds nothing to send.
    """
    with _told(given):
        found = _document(given) if _form(given) == "json" else list(_items(given))
    if not found:
        raise ConfigError(f"{_name(given)} holds nothing to send.")
    return found


def rows(given: argparse.Namespace) -> Any:
    """What ``map`` takes: columns, or rows that are read only as far as they are asked for.

    A JSON document is read whole; lines, CSV and Parquet are not.

    Raises:
        ConfigError: It cannot be read, or holds a body; with rows, while iterating.
    """
    if _form(given) != "json":
        return _lazily(given)
    found = whole(given)
    if isinstance(found, dict) and is_body(found):
        raise ConfigError(
            f"{_name(given)} holds a request body, which is one call: use `servingclient predict`. "
            "map takes rows."
        )
    return found


def _lazily(given: argparse.Namespace) -> Iterator[Any]:
    with _told(given):
        yield from _items(given)


@contextmanager
def _told(given: argparse.Namespace) -> Iterator[None]:
    """What goes wrong while reading, as an error that names the file and nothing of its content."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{_name(given)} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{_name(given)} is no UTF-8 text.") from None


def _items(given: argparse.Namespace) -> Iterator[Any]:
    if _form(given) == "parquet":
        yield from _parquet(given.input)
        return
    with _opened(given.input) as source:
        if _form(given) == "csv":
            yield from csv_rows(source, text=frozenset(given.text))
        else:
            yield from _json_lines(source)


def _form(given: argparse.Namespace) -> str:
    if given.format is not None:
        return str(given.format)
    if given.input == STANDARD_INPUT:
        return "json"
    form = Path(given.input).suffix.lower().lstrip(".")
    if form not in _FORMS:
        raise ConfigError(
            f"{given.input}: its name does not tell what it holds; say --format "
            f"{', '.join(_FORMS[:-1])} or {_FORMS[-1]}."
        )
    return form


def _name(given: argparse.Namespace) -> str:
    return "The standard input" if given.input == STANDARD_INPUT else str(given.input)


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    if path == STANDARD_INPUT:
        if sys.stdin is None:
            raise ConfigError("The standard input is closed; pipe something in, or name --input.")
        if isinstance(sys.stdin, io.TextIOWrapper):  # as a file, whatever the locale says
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict", newline="")
        yield sys.stdin
    else:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:  # as csv wants it
            yield file


def _document(given: argparse.Namespace) -> Any:
    """A body, columns, rows; or one row, or several of them, one a line."""
    with _opened(given.input) as source:
        text = source.read()
    try:
        found = json.loads(text)
    except ValueError as error:
        return _several(text, error, given)
    except RecursionError:
        raise ConfigError(f"{_name(given)} is nested too deeply for any model.") from None
    if isinstance(found, list):
        return found
    columns = isinstance(found, dict) and found and all(map(is_column, found.values()))
    return found if columns or (isinstance(found, dict) and is_body(found)) else [found]


def _several(text: str, error: ValueError, given: argparse.Namespace) -> list[Any]:
    """Rows one a line; where the first is not even one, what is wrong with the document."""
    first = next(filter(str.strip, io.StringIO(text)), "")
    try:
        json.loads(first or "null")
    except (ValueError, RecursionError):
        where = (
            f"line {error.lineno}, column {error.colno}: {error.msg}"
            if isinstance(error, json.JSONDecodeError)
            else "a number has too many digits"
        )
        raise ConfigError(f"{_name(given)} is neither JSON nor JSON lines; {where}.") from None
    return list(_json_lines(io.StringIO(text)))


def _json_lines(source: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(source, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                raise ConfigError(
                    f"Line {number} of the input is no JSON; nothing from it on was sent."
                ) from None


def _parquet(path: str) -> Iterator[Any]:
    if path == STANDARD_INPUT:
        raise ConfigError("Parquet is read from its end, so it needs a file: --input FILE.")
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ConfigError("Reading Parquet needs pyarrow: pip install pyarrow.") from None
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except ArrowInvalid:
        raise ConfigError(f"{path} is no Parquet file.") from None
