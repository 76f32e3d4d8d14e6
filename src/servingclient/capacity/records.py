"""Service times from a file: a list, a histogram, or what a load test wrote."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from servingclient.errors import ConfigError
from servingclient.telemetry.histogram import Histogram, lower_bound

MAX_BYTES: Final = 256 * 1024 * 1024
"""Larger files are refused: ten million times as text, and more than a plan can use."""
_PIECE_BYTES: Final = 1024 * 1024
_UNITS: Final[Mapping[str, float]] = {"_s": 1.0, "_ms": 1e-3}
_COLUMNS: Final = (
    "service_time",
    "model_time",
    "execution_time",
    "latency",
    "response_time",
    "duration",
    "time",
)
"""Names of columns and lists that are understood, with ``_s`` or ``_ms`` at their end."""
_KNOWN: Final = f"{', '.join(_COLUMNS)}, each with _s or _ms at its end"
_FORMS: Final = (
    "Known forms: what loadtest --json wrote; JSON with a list of seconds, with a list named "
    "latency_s or latency_ms, or with bounds_s and counts; CSV with such a column; the _stats.csv "
    "of Locust."
)


def recorded(path: str | Path) -> dict[float, int]:
    r"""Read service times from a file.

    The times of a load test are service times as far as its calls did not wait: take one with few
    clients. Of ``servingclient loadtest`` it is the one caller alone that is read; those times
    hold the network and the service's overhead too, so plan with ``overhead_s=0``. Locust's
    statistics hold percentiles only, between which times are spread evenly.

    Args:
        path: The file. What ``servingclient loadtest --json`` wrote. Other JSON: a list of seconds;
            an object with a list ``latency_s`` or ``latency_ms`` (or ``service_time``,
            ``model_time``, ``duration``, ...); a histogram with ``bounds_s``, the upper ends, and
            ``counts``. CSV: a column of such a name, or Locust's ``_stats.csv``.

    Returns:
        How many calls took so many seconds.

    Raises:
        ConfigError: It cannot be read, or is none of these.

    Example:
        >>> from pathlib import Path
        >>> from servingclient.capacity import plan, recorded
        >>> _ = Path("run.csv").write_text("latency_ms\n38\n41\n40\n55\n")
        >>> times = recorded("run.csv")
        >>> times
        {0.038: 1, 0.041: 1, 0.04: 1, 0.055: 1}
        >>> plan(qps=100, service_times=times).scaling
        Range(least=8, most=8)
    """
    path = Path(path)
    try:
        with path.open("rb") as file:  # what a device or pipe holds, no size says
            found = _read(file, MAX_BYTES + 1)
        if len(found) > MAX_BYTES:
            raise ConfigError(f"{path.name} is larger than {MAX_BYTES:,} bytes; take a part of it.")
        content = found.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is no text, so no record of times. {_FORMS}") from None
    if content.lstrip()[:1] in ("[", "{"):
        return _of_json(path.name, content)
    return _of_csv(path.name, content)


def _read(file: BinaryIO, most: int) -> bytes:
    """Up to ``most`` bytes, by pieces: what ``read`` is asked for at once is set aside at once."""
    parts: list[bytes] = []
    while most and (part := file.read(min(most, _PIECE_BYTES))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


# ------------------------------------------------------------------------------- JSON


def _of_json(name: str, content: str) -> dict[float, int]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deep")
        raise ConfigError(f"{name} is no valid JSON ({reason}). {_FORMS}") from None
    if isinstance(value, list):
        return _counted(name, value, 1.0)
    if "trials" in value:
        return _of_load_test(name, value)
    if isinstance(value.get("bounds_s"), list) and isinstance(value.get("counts"), list):
        return _of_histogram(name, value["bounds_s"], value["counts"])
    for key, times in value.items():
        unit = _unit(key)
        if unit is not None and isinstance(times, list):
            return _counted(name, times, unit)
    raise ConfigError(f"{name} holds no list of times. {_FORMS}")


def _of_load_test(name: str, value: dict[str, Any]) -> dict[float, int]:
    """What one caller alone was answered in, second by second after the warm-up."""
    if not value.get("unloaded"):
        raise ConfigError(
            f"{name} is of a load test without one caller alone, so it does not say what a call "
            "takes when nobody waits: run it with --knee."
        )
    try:
        alone, whole = value["unloaded"], Histogram()
        for second, _, _, latency in alone["points"]:
            if alone["from_s"] <= second < alone["from_s"] + alone["seconds"]:
                whole.merge(Histogram.decode(latency))
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{name} is no load test that can be read. {_FORMS}") from None
    return {_middle(bucket): count for bucket, count in whole.items()}


def _middle(bucket: int) -> float:
    return (lower_bound(bucket) + lower_bound(bucket + 1)) / 2.0


def _of_histogram(name: str, bounds: list[Any], counts: list[Any]) -> dict[float, int]:
    if len(bounds) != len(counts):
        raise ConfigError(
            f"{name} has {len(bounds)} bounds_s and {len(counts)} counts; there is one count for "
            "each bound."
        )
    found: dict[float, int] = {}
    for bound, count in zip(_numbers(name, bounds), _numbers(name, counts), strict=True):
        if count >= 1.0:
            found[bound] = found.get(bound, 0) + int(count)
    return found


# ------------------------------------------------------------------------------- CSV


def _of_csv(name: str, content: str) -> dict[float, int]:
    try:
        rows = list(csv.DictReader(content.splitlines()))
    except csv.Error as error:
        raise ConfigError(f"{name} is no valid CSV ({error}). {_FORMS}") from None
    columns = [column for column in (rows[0] if rows else ()) if isinstance(column, str)]
    if {"Request Count", "50%", "99%"} <= set(columns):
        return _of_locust(name, rows)
    for column in columns:
        unit = _unit(column)
        if unit is not None:
            return _counted(name, [row[column] for row in rows], unit)
    raise ConfigError(f"{name} has no column of times. {_FORMS} Names of columns: {_KNOWN}.")


_PER_MILLE: Final = 1000
"""Times made of a row of percentiles."""
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%")


def _of_locust(name: str, rows: list[dict[str, Any]]) -> dict[float, int]:
    """Times spread evenly between the percentiles of the row for all requests."""
    row = next((one for one in rows if one.get("Name") == "Aggregated"), rows[-1])
    ends = [(0.0, _number(name, row.get("Min Response Time")))]
    for column, value in row.items():
        percent = _percent(column)
        if percent is not None:
            ends.append((percent / 100.0, _number(name, value)))
    ends.sort()
    found: dict[float, int] = {}
    for step in range(_PER_MILLE):
        share = (step + 0.5) / _PER_MILLE
        time_s = _between(ends, share) * 1e-3
        found[time_s] = found.get(time_s, 0) + 1
    return found


def _percent(column: str | None) -> float | None:
    """Which percentile a column holds; None where it holds none, or has no name at all."""
    found = _PERCENT.fullmatch(column or "")
    return float(found[1]) if found is not None else None


def _between(ends: list[tuple[float, float]], share: float) -> float:
    for (low, low_ms), (high, high_ms) in itertools.pairwise(ends):
        if share <= high:
            return low_ms + (high_ms - low_ms) * (share - low) / (high - low)
    return ends[-1][1]


# ------------------------------------------------------------------------------- numbers


def _unit(column: str) -> float | None:
    """Seconds of one unit of a column; None where it holds no times."""
    plain = column.strip().lower().replace(" ", "_")
    for ending, seconds in _UNITS.items():
        if plain.endswith(ending) and plain.removesuffix(ending) in _COLUMNS:
            return seconds
    return None


def _counted(name: str, times: list[Any], unit: float) -> dict[float, int]:
    found: dict[float, int] = {}
    for time in _numbers(name, times):
        seconds = round(time * unit, 9)
        found[seconds] = found.get(seconds, 0) + 1
    return found


def _numbers(name: str, values: list[Any]) -> list[float]:
    return [_number(name, value, at) for at, value in enumerate(values)]


def _number(name: str, value: Any, at: int | None = None) -> float:
    """A number, without showing what is none: the file may be of anything."""
    place = "a percentile" if at is None else f"value {at + 1}"
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0.0):
        raise ConfigError(f"{name}: {place} is no time, a number of at least 0. {_FORMS}")
    return number
