"""``servingclient map``: an input of any size, its predictions one a line, in order."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from servingclient.bulk.results import MapResult
from servingclient.cli import asking, inputs, landing
from servingclient.cli.asking import as_json
from servingclient.cli.landing import Landing
from servingclient.cli.piped import tell
from servingclient.errors import ServingError

_EXAMPLES: Final = f"""\
examples:
  servingclient map fraud-model --input rows.parquet --output scores.jsonl --checkpoint scores.spool
  servingclient map fraud-model --input rows.csv --text zip_code > scores.jsonl
  tail -f rows.jsonl | servingclient map fraud-model --format jsonl --rows-per-request 1
  servingclient map fraud-model --input rows.jsonl --strict --json

One prediction a line, as JSON, in the order of the rows. Where a row was refused, its line is
{{"error": {{"type": ..., "message": ...}}}}. With --checkpoint the same command goes on where it
was ended.
{asking.AUTHENTICATION}

exit codes: 0 every row has its prediction; 1 some have not, or the job could not go on; 2 the
command or its input cannot be; 130 Ctrl-C.
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a job.

    Attributes:
        rows: Rows that were scored or refused.
        failed: Rows that were refused.
        seconds: How long it took.
    """

    rows: int
    failed: int
    seconds: float

    def __str__(self) -> str:
        speed = self.rows / self.seconds if self.seconds > 0.0 else math.inf
        failed = f", {self.failed:,} of them failed" if self.failed else ""
        return f"{self.rows:,} rows{failed}, in {self.seconds:.1f} s ({speed:,.0f} rows/s)"

    def as_dict(self) -> dict[str, Any]:
        """Its figures under their names."""
        return {"rows": self.rows, "failed": self.failed, "seconds": round(self.seconds, 3)}


def main(argv: Sequence[str]) -> int:
    """Score, print, and return the exit code.

    Args:
        argv: Arguments after ``map``.
    """
    given = parser().parse_args(argv)
    return asking.ended("map", lambda: _scored(given))


def _scored(given: argparse.Namespace) -> int:
    landing.check(given)
    wanted = inputs.rows(given)
    with landing.landing(given.output) as write, asking.opened(given) as client:
        results = client.map(
            wanted,
            **asking.call_options(given),
            rows_per_request=given.rows_per_request,
            concurrency=given.concurrency,
            on_error="raise" if given.strict else "return",
            progress=given.progress,
            checkpoint=given.checkpoint,
        )
        with results:
            summary = _copied(results, write)
        if given.stats:
            tell(client.stats())
    tell(as_json(summary.as_dict()) if given.json else summary)
    return asking.FAILED if summary.failed else asking.GOOD


def _copied(results: MapResult, write: Landing) -> Summary:
    """Write each result as soon as it is there: whoever reads may act on it."""
    rows, failed, began_s = 0, 0, time.monotonic()
    for block in results.blocks():
        rows += len(block.predictions)
        failed += sum(isinstance(value, ServingError) for value in block.predictions)
        write("".join(f"{as_json(_line(value))}\n" for value in block.predictions))
    return Summary(rows, failed, time.monotonic() - began_s)


def _line(value: Any) -> Any:
    if isinstance(value, ServingError):
        return {"error": {"type": type(value).__name__, "message": str(value)}}
    return value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient map",
        description="Score an input of any size, in bounded memory.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asking.add_endpoint(made)
    inputs.add_input(made)
    asking.add_call(made)
    job = made.add_argument_group("how")
    job.add_argument("--rows-per-request", type=int, metavar="N", help="else found while it runs")
    job.add_argument("--concurrency", type=int, metavar="N", help="requests at once; else found")
    job.add_argument("--checkpoint", metavar="FILE", help="what is scored is kept here")
    job.add_argument("--strict", action="store_true", help="end at the first row that is refused")
    output = made.add_argument_group("what to write")
    output.add_argument(
        "--output", default="-", metavar="FILE", help="predictions; - is the standard output"
    )
    output.add_argument("--json", action="store_true", help="the summary as JSON")
    output.add_argument("--stats", action="store_true", help="figures of the client, at the end")
    output.add_argument("--progress", action="store_true", help="how far it is; on error output")
    return made
