"""``servingclient doctor``: what is wrong with an endpoint, and what to do about it."""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from typing import Any, Final, Protocol

from servingclient import ServingClient
from servingclient.capacity.doctor import Diagnosis, Probe, Targets
from servingclient.cli import asking
from servingclient.cli.piped import write
from servingclient.errors import ConfigError, ServingError

_GOOD, _BAD, _NOT_EXAMINED = 0, 1, 2
_CALLS: Final = 20

_EXAMPLES: Final = """\
examples:
  servingclient doctor fraud-model
  servingclient doctor fraud-model --payload input.json --calls 100 --target p99_ms=200
  servingclient doctor fraud-model --target qps=400 --json
  servingclient doctor fraud-model --watch 30

Without --payload no model is called: it is judged by the endpoint's own figures of the last minute.
Databricks unified authentication decides who asks: environment, profile, notebook.

exit codes: 0 nothing is bad (there may be warnings); 1 something is; 2 it could not be examined, or
the command cannot run like that. With --watch, that of the last look.
"""


def main(argv: Sequence[str]) -> int:
    """Examine, print, and return the exit code.

    Args:
        argv: Arguments after ``doctor``.
    """
    given = parser().parse_args(argv)
    return asking.ended("doctor", lambda: _examined(given))


def _examined(given: argparse.Namespace) -> int:
    if given.count is not None and given.watch is None:
        raise ConfigError("--count says how often --watch looks; give both, or neither.")
    targets, probe = targets_of(given.target), _probe(given)
    try:
        with asking.opened(given) as client:
            return _looked(client, probe, targets, given)
    except ServingError as error:
        asking.complain("doctor", error)
        return _NOT_EXAMINED


def _probe(given: argparse.Namespace) -> Probe | None:
    if given.payload is None:
        return None
    from servingclient.loadtest import payloads

    return Probe(payloads.read(given.payload, rows=given.rows)[0], given.calls)


def _looked(
    client: ServingClient, probe: Probe | None, targets: Targets, given: argparse.Namespace
) -> int:
    """One look, or one after the other until Ctrl-C or ``--count`` of them."""
    window = _window(given)
    code, looks, pause = _NOT_EXAMINED, 0, threading.Event()
    try:
        with window:
            while True:
                found = client.doctor(probe=probe, targets=targets, timeout=given.timeout)
                code = exit_code(found)
                window.show(found)
                looks += 1
                if given.watch is None or looks == given.count:
                    return code
                pause.wait(given.watch)
    except KeyboardInterrupt:
        if given.watch is None:
            raise
        return code


def exit_code(found: Diagnosis) -> int:
    """What a diagnosis means to a shell."""
    if not found.examined:
        return _NOT_EXAMINED
    return _GOOD if found.healthy else _BAD


def targets_of(given: Sequence[str]) -> Targets:
    """Targets from ``NAME=VALUE``; a duration may be given as ``p99_ms`` in place of ``p99_s``.

    Raises:
        ConfigError: One has no value, the name is not known, or given ones contradict each other.
    """
    known = {field.name for field in fields(Targets)}
    found: dict[str, float] = {}
    for one in given:
        name, _, words = one.partition("=")
        try:
            value = float(words)
        except ValueError:
            raise ConfigError(f"--target {one!r} is no NAME=NUMBER, such as p99_ms=200.") from None
        in_seconds = f"{name[:-3]}_s"
        if name.endswith("_ms") and in_seconds in known:
            name, value = in_seconds, value / 1e3
        found[name] = value
    return Targets(**_percentiles(found), **found)


def _percentiles(given: Mapping[str, float]) -> dict[str, float]:
    """Those nobody gave, where their defaults would contradict a given one: P90 is at most P99."""
    plain, found = Targets(), {}
    names = ("p50_s", "p90_s", "p99_s")
    for place, name in enumerate(names):
        least = max((given[below] for below in names[:place] if below in given), default=0.0)
        most = min((given[above] for above in names[place:] if above in given), default=math.inf)
        default = getattr(plain, name)
        fitting = max(min(default, most), least)
        if name not in given and fitting != default:
            found[name] = fitting
    return found


# ------------------------------------------------------------------------------------ windows


class _Window(Protocol):
    """Shows one diagnosis after the other."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: object) -> Any: ...

    def show(self, found: Diagnosis) -> None:
        """Show it, in place of the one before where that can be."""


class _Lines(nullcontext[None]):
    """Text, one below the other; JSON one a line when there will be several."""

    def __init__(self, *, as_json: bool, several: bool) -> None:
        super().__init__()
        self._as_json, self._several = as_json, several

    def show(self, found: Diagnosis) -> None:
        """Print it."""
        if self._as_json:
            write(json.dumps(found.as_dict(), indent=None if self._several else 2))
        else:
            write(str(found), end="\n\n" if self._several else "\n")


class _Once:
    """rich, once."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def show(self, found: Diagnosis) -> None:
        """Print it with colours and columns that fit the window."""
        from rich.console import Console

        Console(highlight=False).print(found)


class _Live:
    """rich, each look in place of the one before."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, found: Diagnosis) -> None:
        """Put it in place of the last."""
        self._live.update(found, refresh=True)


def _window(given: argparse.Namespace) -> _Window:
    several = given.watch is not None
    lines = _Lines(as_json=given.json, several=several)
    if given.json or given.plain or not sys.stdout.isatty():
        return lines
    try:
        import rich  # noqa: F401 - whether it is there
    except ImportError:
        return lines
    return _Live() if several else _Once()


# ------------------------------------------------------------------------------------ arguments


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient doctor",
        description="Hold an endpoint against targets, and say what to do where one is missed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asking.add_endpoint(made)
    made.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="NAME=N",
        help="a target other than the default, such as p99_ms=200; may be repeated",
    )
    probing = made.add_argument_group("calls to measure with; without --payload none are made")
    probing.add_argument(
        "--payload",
        metavar="FILE",
        help=".json .jsonl .csv .parquet, or -: JSON or JSON lines from the standard input",
    )
    probing.add_argument("--rows", type=int, default=1, metavar="N", help="rows of a call (1)")
    probing.add_argument(
        "--calls", type=int, default=_CALLS, metavar="N", help="one after the other (%(default)d)"
    )
    output = made.add_argument_group("what to print")
    output.add_argument("--json", action="store_true", help="all of it as JSON")
    output.add_argument("--plain", action="store_true", help="no colours, also on a terminal")
    output.add_argument(
        "--watch", type=_pause_s, metavar="S", help="look again every S seconds, until Ctrl-C"
    )
    output.add_argument("--count", type=_looks, metavar="N", help="with --watch: so many looks")
    return made


def _pause_s(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 86_400.0:
        raise argparse.ArgumentTypeError(f"{text} is no pause of 0 to 86400 seconds")
    return value


def _looks(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is no number of looks; it takes 1 or more")
    return int(text)
