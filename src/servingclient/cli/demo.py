"""``servingclient demo``: real data through the client, while more and more goes wrong.

Each step is a function, in ``steps`` or ``mishaps``, that says what it found and what must be so;
the exit code tells whether all of it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from servingclient._version import __version__
from servingclient.cli import mishaps, outage, steps
from servingclient.cli.lab import FAST, STANDARD, Lab, Report, laboratory
from servingclient.cli.mishaps import BURST_CALLS
from servingclient.cli.screen import JsonScreen, Screen, screen
from servingclient.cli.steps import MAP_ROWS, PLACES

_EXAMPLES = """\
examples:
  servingclient demo
  servingclient demo --json | jq -r 'select(.good == false) | .heading'

exit codes: 0 every step went as expected; 1 one did not, the last line says which; 130 Ctrl-C.
"""


def main(argv: Sequence[str]) -> int:
    """Run the demo and return the exit code.

    Args:
        argv: Arguments after ``demo``.
    """
    given = parser().parse_args(argv)
    return run(JsonScreen() if given.json else screen(plain=given.plain))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient demo",
        description="Score a real data set through every part of the client, on the emulator.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    form = made.add_mutually_exclusive_group()
    form.add_argument("--plain", action="store_true", help="no colours, also on a terminal")
    form.add_argument("--json", action="store_true", help="a line of JSON for each step")
    return made


def run(out: Screen) -> int:
    """Run all steps and show what they found.

    Args:
        out: Where it is shown.

    Returns:
        0 when every step went as expected, 1 otherwise.
    """
    started_s = time.perf_counter()
    try:
        with laboratory() as lab:
            _introduce(out, lab)
            failed = [
                title
                for number, (title, step) in enumerate(STEPS, 1)
                if not _show(out, f"{number:2}. {title}", step, lab)
            ]
            _sum_up(out, lab)
    except RuntimeError as missing:
        sys.stderr.write(f"servingclient demo: {missing}\n")
        return 1
    spent = f"{len(STEPS)} steps in {time.perf_counter() - started_s:.1f} s"
    if failed:
        out.verdict(f"{spent}; not as expected: {'; '.join(failed)}", good=False)
        return 1
    out.verdict(f"{spent}, all as expected", good=True)
    return 0


def _introduce(out: Screen, lab: Lab) -> None:
    data = (
        f"UCI Wine (CC BY 4.0): {lab.total} wines, {len(lab.wines[0])} measurements each, "
        "3 cultivars to tell apart"
    )
    model = (
        f"nearest centroid, fitted to {lab.total - len(lab.wines)} wines; the other "
        f"{len(lab.wines)} are scored"
    )
    out.heading(f"servingclient {__version__}: wines on a local Databricks Model Serving")
    out.facts(
        [
            ("data", data),
            ("model", model),
            ("workspace", f"{lab.emulator.host}, endpoint {STANDARD}"),
            ("data plane", f"{lab.emulator.serving_host}, route-optimized endpoint {FAST}"),
        ]
    )


def _show(out: Screen, heading: str, step: Callable[[Lab, Report], None], lab: Lab) -> bool:
    out.heading(heading)
    report = Report()
    try:
        step(lab, report)
    except Exception as error:  # noqa: BLE001 - the next step may still tell something
        report.expect(f"it ends without {type(error).__name__}: {error}", held=False)
    out.facts(report.facts)
    if report.skipped is not None:
        out.verdict(f"skipped: {report.skipped}", good=True)
    elif report.failed:
        out.verdict(f"NOT AS EXPECTED: {'; '.join(report.failed)}", good=False)
    else:
        out.verdict("ok", good=True)
    return not report.failed


def _sum_up(out: Screen, lab: Lab) -> None:
    emulator = lab.emulator
    asked = sum(record.kind == "invocation" for record in emulator.requests)
    ran = sum(sum(emulator.executions(name).values()) for name in (STANDARD, FAST))
    opened = emulator.connections
    out.heading("In all")
    out.facts(
        [
            ("requests", f"{asked} for predictions answered; the model ran {ran} times"),
            ("tokens", f"{emulator.token_requests} fetched"),
            (
                "connections",
                f"{opened['workspace']} to the workspace, {opened['serving']} to the data plane",
            ),
        ]
    )


STEPS: list[tuple[str, Callable[[Lab, Report], None]]] = [
    ("sync client, standard endpoint: all wines in one call", steps.sync_standard),
    ("async client, standard endpoint: a call for each wine, all at once", steps.async_standard),
    ("sync client, route-optimized endpoint", steps.sync_fast),
    ("async client, route-optimized endpoint: a call for each wine, all at once", steps.async_fast),
    ("a pandas DataFrame in, one out", steps.frame),
    ("async client: a call for each wine, batched", steps.shared),
    (f"map: all wines, {MAP_ROWS} a request", steps.mapped),
    ("a personal access token on the route-optimized endpoint", mishaps.pat_refused),
    (
        f"a burst: {BURST_CALLS} calls at once, {PLACES} places and a queue of {PLACES}",
        mishaps.burst,
    ),
    ("a token that expires midway", mishaps.token_expires),
    ("all tokens revoked midway", mishaps.token_revoked),
    ("the connection is reset after the model has run", mishaps.connection_reset),
    ("a gateway answers html 502, once", mishaps.gateway_page),
    ("the model takes longer than the caller has", mishaps.deadline),
    ("an external API is slow, limited, then down: predictions go on", outage.external_api),
]
