"""``servingclient stats``: the figures of calls that services have written into their logs."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from servingclient.cli import asking
from servingclient.cli.asking import as_json
from servingclient.cli.piped import show
from servingclient.errors import ConfigError
from servingclient.telemetry import table
from servingclient.telemetry.tally import Event, Tally
from servingclient.telemetry.traffic import Traffic

_EXAMPLES: Final = """\
examples:
  servingclient stats service.log
  servingclient stats service.log.1 service.log
  kubectl logs deploy/scoring | servingclient stats -
  servingclient stats service.log --json | jq '."fraud-model".p99_s'

The log is that of services whose client has `observers=[CallLog()]` and whose logger
"servingclient.call" is at DEBUG; above that, only failed and slow calls are in it. Other lines do
no harm. In a program, `print(client.stats())` tells more.

exit codes: 0 there are calls; 1 there are none; 2 the log cannot be read; 130 Ctrl-C.
"""

_CALL: Final = re.compile(
    r"\bcall_(?:answered|slow|failed) endpoint=(?P<endpoint>\S+) status=\S+ error=(?P<error>\S+) "
    r"attempts=(?P<attempts>\d{1,9}) duration_s=(?P<duration>\d+\.\d+) "
    r"queue_s=(?P<queue>\d+\.\d+) request_bytes=(?P<request>\d{1,15}) "
    r"reply_bytes=(?P<reply>\d{1,15})",
    re.ASCII,
)
"""What ``integrations.call_log`` writes."""
_WHEN: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?:[.,](?P<part>\d{1,6}))?\d*"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
"""Where in the line, as ISO 8601 or as Python's logging writes it."""


@dataclass(slots=True)
class _Seen:
    """Calls of one endpoint, and when the first and the last of them were logged."""

    tally: Tally = field(default_factory=Tally)
    first: datetime | None = None
    last: datetime | None = None

    def note(self, line: str, call: re.Match[str]) -> None:
        when = _logged(line)
        if when is not None:  # lines of several processes, or files, are in no order
            self.first = min(self.first or when, when)
            self.last = max(self.last or when, when)
        self.tally.enter(_events(call))
        attempts = int(call["attempts"])
        self.tally.counts["attempt"] += attempts
        self.tally.counts["retry"] += max(attempts - 1, 0)

    @property
    def traffic(self) -> Traffic:
        if self.first is None or self.last is None:
            return Traffic.of([self.tally], 0.0)
        return Traffic.of([self.tally], (self.last - self.first).total_seconds())


def _logged(line: str) -> datetime | None:
    """When a line was written; without a time zone it counts as UTC, as only differences matter."""
    found = _WHEN.search(line)
    if found is None:
        return None
    zone = (found["zone"] or "Z").replace("Z", "+00:00").replace(":", "")
    text = f"{found['day']} {found['time']}.{found['part'] or '0'}{zone}"
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f%z")
    except ValueError:  # it looks like a time, and is none
        return None


def _events(call: re.Match[str]) -> Iterator[Event]:
    duration_s = float(call["duration"])
    if call["error"] == "None":
        yield Event(0.0, "answered", None, duration_s)
        yield Event(0.0, "queue", None, float(call["queue"]))
        yield Event(0.0, "request", None, float(call["request"]))
        yield Event(0.0, "reply", None, float(call["reply"]))
    else:
        yield Event(0.0, "failed", call["error"], duration_s)


def main(argv: Sequence[str]) -> int:
    """Read, print, and return the exit code.

    Args:
        argv: Arguments after ``stats``.
    """
    given = parser().parse_args(argv)
    return asking.ended("stats", lambda: _told(given))


def _told(given: argparse.Namespace) -> int:
    found = read(_lines(given.log))
    if not found:
        asking.complain(
            "stats",
            "no call is told of there. Give the client `observers=[CallLog()]`, and its logger "
            '"servingclient.call" level DEBUG.',
        )
        return asking.FAILED
    if given.json:
        show(as_json({name: as_dict(traffic) for name, traffic in found.items()}, indent=2))
    else:
        show("\n".join(shown(found)))
    return asking.GOOD


def read(lines: Iterable[str]) -> dict[str, Traffic]:
    """The calls of each endpoint that a log tells of."""
    seen: dict[str, _Seen] = {}
    for line in lines:
        call = _CALL.search(line)
        if call is not None:
            seen.setdefault(call["endpoint"], _Seen()).note(line, call)
    return {name: seen[name].traffic for name in sorted(seen)}


def shown(found: dict[str, Traffic]) -> Iterator[str]:
    """Lines for people: a column for each endpoint."""
    total = Traffic.of([tally for traffic in found.values() for tally in traffic.tallies], 0.0)
    timed = all(traffic.span_s for traffic in found.values())
    kept = [
        row for row in table.side_by_side(list(found.items()), total) if _known(row, timed=timed)
    ]
    wide = max(len(row.name) for row in kept)
    widths = [max(len(row.cells[at]) for row in kept) for at in range(len(found))]
    for name, cells in kept:
        columns = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        yield f"{name:{wide}}  {'  '.join(columns)}".rstrip()


_UNTOLD: Final = ("first byte", "throttled")
"""Rows of figures that a log line does not hold."""


def _known(row: table.Row, *, timed: bool) -> bool:
    return not row.name.startswith(_UNTOLD) and (timed or row.name != "calls a second")


def as_dict(traffic: Traffic) -> dict[str, Any]:
    """Figures under the names they have in ``client.stats()``; durations in seconds."""
    return {
        "calls": traffic.calls,
        "span_s": traffic.span_s,
        "qps": traffic.qps if traffic.span_s else None,
        "failed": traffic.failed,
        "errors": dict(traffic.errors),
        "error_rate": traffic.error_rate,
        "attempts": traffic.attempts,
        "retries": traffic.retries,
        "p50_s": traffic.p50_s,
        "p90_s": traffic.p90_s,
        "p99_s": traffic.p99_s,
        "p999_s": traffic.p999_s,
        "max_s": traffic.max_s,
        "queue_p99_s": traffic.queue_s.quantile(0.99),
        "request_bytes_mean": traffic.request_bytes.mean,
        "reply_bytes_mean": traffic.reply_bytes.mean,
    }


def _lines(paths: Sequence[str]) -> Iterator[str]:
    """Lines of all logs, one after the other; what is no UTF-8 in them does no harm."""
    for path in paths:
        try:
            if path == "-":
                yield from _piped()
            else:
                with Path(path).open(encoding="utf-8", errors="replace") as file:
                    yield from file
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None


def _piped() -> TextIO:
    if sys.stdin is None:
        raise ConfigError("The standard input is closed; pipe a log in, or name a file.")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    return sys.stdin


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient stats",
        description="Figures of the calls that services have written into their logs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "log", nargs="+", metavar="LOG", help="log files, in any order; - is the standard input"
    )
    made.add_argument("--json", action="store_true", help="as JSON, by endpoint")
    return made
