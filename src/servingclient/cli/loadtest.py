"""``servingclient loadtest``: what an endpoint can take."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from servingclient.cli import asking
from servingclient.cli.load_line import LoadLine
from servingclient.cli.piped import show, tell
from servingclient.errors import ConfigError, ServingError
from servingclient.loadtest import (
    ClosedLoad,
    Goal,
    Limits,
    LoadGenerator,
    LoadTest,
    OpenLoad,
    Profile,
    RecordedLoad,
    Rules,
    Timetable,
    payloads,
    recorded,
    report,
)
from servingclient.loadtest.changes import changes
from servingclient.loadtest.load import Load
from servingclient.loadtest.page import page
from servingclient.loadtest.running import IN_FLIGHT, TIMEOUT_S, check_loads, check_search
from servingclient.telemetry.table import rate

_MET, _MISSED, _NOT_MADE, _INVALID = 0, 1, 2, 3
_STANDARD_OUTPUT: Final = "-"
"""As ``--json``: then what is for people goes to the error output."""

_EXAMPLES: Final = """\
examples:
  servingclient loadtest fraud-model --payload rows.csv --qps 200 --goal-ms 100
  servingclient loadtest fraud-model --payload input.json --knee 10:1000 --goal-ms 100 --html r.html
  servingclient loadtest fraud-model --payload input.json --callers 1,2,4,8,16
  servingclient loadtest fraud-model --payload rows.parquet --rows 100 --spike 50:400 --processes 4
  servingclient loadtest fraud-model --payload rows.csv --qps 200 --json new.json --compare old.json

Calls begin when they are due, whatever became of those before; latency counts from then. Databricks
unified authentication decides who asks: environment, profile, notebook. It puts real load on a real
endpoint, whose cost is yours: --max-calls and --max-throttled bound it.

exit codes: 0 the goal was met; 1 it was missed, or the test was broken off; 2 no load was made:
the command cannot run like that, or the endpoint did not answer the first call; 3 the load
generator was the bottleneck, so the endpoint was not measured; 130 Ctrl-C.
"""


def main(argv: Sequence[str]) -> int:
    """Test, print, and return the exit code.

    Args:
        argv: Arguments after ``loadtest``.
    """
    given = parser().parse_args(argv)
    return asking.ended("loadtest", lambda: _judged(given))


def _judged(given: argparse.Namespace) -> int:
    before = _before(given.compare)
    piped = given.json == _STANDARD_OUTPUT
    if piped:
        given.json = None
    _check_writable(given)
    try:
        test = _tested(given)
    except ServingError as error:  # no load was made, so there is nothing to judge
        asking.complain("loadtest", error)
        return _NOT_MADE
    say = tell if piped else show
    try:
        say(report.text(test))
        if piped:
            show(test.to_json())
    finally:  # the load was paid for, whatever became of the screen
        _save(test, given)
    plan = test.recommendation
    if plan is not None:
        say(f"\nTo hold {rate(plan.workload.qps)} calls/s:\n{plan}")
    if before is not None:
        for line in changes(before, test):
            say(line)
    return _code(test)


def _code(test: LoadTest) -> int:
    if test.stopped is not None:  # before doubts: what was not done is no matter of the generator
        return _MISSED
    if not test.valid:
        return _INVALID
    return _MET if test.met else _MISSED


def _tested(given: argparse.Namespace) -> LoadTest:
    rules = Rules(
        Goal(latency_s=given.goal_ms / 1e3, share=given.goal_share),
        Timetable(warmup_s=given.warmup_s, window_s=given.window_s),
        Limits(max_calls=given.max_calls, max_throttled_share=given.max_throttled),
    )
    ask = _ask(given, rules)
    inputs = payloads.read(given.payload, rows=given.rows)
    progress = LoadLine(sys.stderr)
    shown = None if given.quiet else progress.show
    credentials = {} if given.host is None else {"host": given.host}
    if shown is not None:
        print("asking once, which wakes an endpoint that sleeps", file=sys.stderr)
    with (
        progress,
        LoadGenerator(
            given.endpoint,
            inputs=inputs,
            rules=rules,
            processes=given.processes,
            in_flight=given.in_flight,
            timeout_s=given.timeout_s,
            seed=given.seed,
            settings=asking.settings_of(given),
            options={"served_model": given.served_model} if given.served_model else None,
            shown=shown,
            **credentials,
        ) as generator,
    ):
        begun_unix_s = time.time()
        try:
            test = ask(generator)
        except ServingError as error:  # load was made, though none of it came to its end
            test = LoadTest(
                given.endpoint,
                rules.goal,
                (),
                started_unix_s=begun_unix_s,
                processes=given.processes,
                seed=given.seed,
                stopped=str(error),
            )
    return replace(test, conditions=_conditions(given, len(inputs)))


def _ask(given: argparse.Namespace, rules: Rules) -> Callable[[LoadGenerator], LoadTest]:
    """What is to be done, found possible before an endpoint is woken for it."""
    if not given.knee:
        loads = _loads(given)
        check_loads(loads, rules)
        return lambda generator: generator.run(*loads)
    start_qps, most_qps = given.knee
    trials, lasting, arrivals = given.trials, given.seconds, given.arrivals
    check_search(rules, start_qps, most_qps, trials=trials, seconds=lasting)
    return lambda generator: generator.find_knee(
        start_qps, most_qps, trials=trials, seconds=lasting, arrivals=arrivals
    )


def _conditions(given: argparse.Namespace, inputs: int) -> dict[str, Any]:
    """What a comparison is told to differ in, where it does."""
    return {
        "--payload": Path(given.payload).name,
        "inputs of the payload": inputs,
        "--trace": None if given.trace is None else Path(given.trace).name,
        "--rows": given.rows,
        "--served-model": given.served_model,
        "--in-flight": given.in_flight,
        "--timeout-s": given.timeout_s,
        "--warmup-s": given.warmup_s,
    }


def _loads(given: argparse.Namespace) -> list[Load]:
    lasting: float = given.seconds
    if given.callers:
        return [ClosedLoad(callers, lasting) for callers in given.callers]
    if given.trace is not None:
        return [RecordedLoad(recorded(_instants(given.trace)))]
    if given.steps:
        profiles = [Profile.constant(qps, lasting) for qps in given.steps]
    elif given.ramp:
        from_qps, to_qps = given.ramp
        profiles = [Profile.ramp(from_qps, to_qps, lasting)]
    elif given.spike:
        qps, peak_qps = given.spike
        profiles = [Profile.spike(qps, peak_qps, lasting)]
    else:
        profiles = [Profile.constant(given.qps, lasting)]
    return [OpenLoad(profile, given.arrivals) for profile in profiles]


def _instants(path: str) -> list[float]:
    try:
        return [float(line) for line in Path(path).read_text().split()]
    except (OSError, ValueError):
        raise ConfigError(
            f"{path} is no trace: it needs one number a line, the second at which a call began."
        ) from None


def _before(path: str | None) -> LoadTest | None:
    if path is None:
        return None
    try:
        return LoadTest.from_json(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def _check_writable(given: argparse.Namespace) -> None:
    """Minutes of load are not to end with a file that cannot be written."""
    for path in filter(None, (given.json, given.html)):
        folder = Path(path).absolute().parent
        if given.json == given.html:
            raise ConfigError("--json and --html name the same file; no load was made.")
        if Path(path).is_dir() or not os.access(folder, os.W_OK):
            raise ConfigError(f"{path} cannot be written; no load was made.")


def _save(test: LoadTest, given: argparse.Namespace) -> None:
    for path, made in ((given.json, test.to_json), (given.html, lambda: page(test))):
        if path is not None:
            try:
                _write(Path(path), made())
            except OSError as error:
                raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def _write(path: Path, text: str) -> None:
    """All of it or nothing: a file of before stays whole when this is interrupted."""
    path = path.resolve()
    if path.exists() and not path.is_file():  # a pipe, or a device
        path.write_text(text, encoding="utf-8")
        return
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# ------------------------------------------------------------------------------- arguments


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient loadtest",
        description="What an endpoint can take, measured so that it can be trusted.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("endpoint", help="name of the serving endpoint")
    _what(made.add_argument_group("what to send"))
    _load(made.add_argument_group("how much of it").add_mutually_exclusive_group(required=True))
    _how(made.add_argument_group("how"))
    _output(made.add_argument_group("what to write"))
    return made


def _what(group: Any) -> None:
    group.add_argument(
        "--payload",
        required=True,
        metavar="FILE",
        help=".json .jsonl .csv .parquet, or -: JSON or JSON lines from the standard input",
    )
    group.add_argument("--rows", type=int, default=1, metavar="N", help="rows of one call (1)")
    group.add_argument("--served-model", metavar="NAME", help="past the traffic split")
    group.add_argument("--host", help="workspace; else unified authentication knows it")
    group.add_argument("--ca-file", metavar="FILE", help="certificates of a private authority")


def _load(group: Any) -> None:
    group.add_argument("--qps", type=float, metavar="N", help="calls a second")
    group.add_argument("--knee", type=_pair, metavar="A:B", help="highest rate that meets the goal")
    group.add_argument("--steps", type=_list, metavar="A,B,…", help="one rate after the other")
    group.add_argument("--ramp", type=_pair, metavar="A:B", help="from one rate to another")
    group.add_argument(
        "--spike", type=_pair, metavar="A:B", help="a rate with a peak in the middle"
    )
    group.add_argument("--trace", metavar="FILE", help="seconds at which calls began, one a line")
    group.add_argument("--callers", type=_counts, metavar="A,B,…", help="closed loops of so many")


def _how(group: Any) -> None:
    group.add_argument("--goal-ms", type=float, default=1000.0, metavar="MS", help="latency (1000)")
    group.add_argument(
        "--goal-share", type=float, default=0.99, metavar="X", help="of calls (0.99)"
    )
    group.add_argument("--seconds", type=float, default=60.0, metavar="S", help="at most each (60)")
    group.add_argument("--warmup-s", type=int, default=10, metavar="S", help="does not count (10)")
    group.add_argument("--window-s", type=int, default=5, metavar="S", help="three agree: end (5)")
    group.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson")
    group.add_argument("--trials", type=int, default=10, metavar="N", help="rates for --knee (10)")
    group.add_argument("--processes", type=int, default=1, metavar="N", help="that make load (1)")
    group.add_argument("--in-flight", type=int, default=IN_FLIGHT, metavar="N", help="per process")
    group.add_argument("--timeout-s", type=float, default=TIMEOUT_S, metavar="S", help="of a call")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the arrivals")
    group.add_argument("--max-calls", type=int, default=Limits().max_calls, metavar="N")
    group.add_argument(
        "--max-throttled", type=float, default=Limits().max_throttled_share, metavar="X"
    )


def _output(group: Any) -> None:
    group.add_argument(
        "--json", metavar="FILE", help="everything, for --compare and plan; -: to stdout"
    )
    group.add_argument("--html", metavar="FILE", help="one page with plots, needs no network")
    group.add_argument("--compare", metavar="FILE", help="a --json of before")
    group.add_argument("--quiet", action="store_true", help="no progress")


def _list(text: str) -> list[float]:
    return _numbers(text, ",")


def _counts(text: str) -> list[int]:
    found = _list(text)
    if not all(number >= 1 and number.is_integer() for number in found):
        raise argparse.ArgumentTypeError(f"{text!r} are no whole numbers from 1")
    return list(map(int, found))


def _pair(text: str) -> list[float]:
    found = _numbers(text, ":")
    if len(found) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} is no pair such as 10:500")
    return found


def _numbers(text: str, mark: str) -> list[float]:
    convert: Callable[[str], float] = float
    try:
        return [convert(part) for part in text.split(mark)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} holds something that is no number") from None
