"""``servingclient plan``: the size of endpoint a load needs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from servingclient.capacity import Plan, plan, recorded
from servingclient.cli.piped import show
from servingclient.errors import ConfigError
from servingclient.settings import planning

_GOOD, _OUT_OF_REACH, _BAD_INPUT = 0, 1, 2

_EXAMPLES: Final = """\
examples:
  servingclient plan --qps 500 --service-ms 40 --p99-ms 150
  servingclient plan --qps 500 --service-ms 40 --service-std-ms 5 --burst 3 --plot
  servingclient plan --qps 2000 --service-times run.csv --p99-ms 100 --svg plan.svg
  servingclient plan --qps 5000 --service-ms 6 --row-ms 0.05 --batch-rows 32
  servingclient plan --qps 50 --service-ms 40 --config-json --model main.fraud.model --version 3

exit codes: 0 a size that is sold will do; 1 none will, and why; 2 the input cannot be.
"""


def main(argv: Sequence[str]) -> int:
    """Plan, print, and return the exit code.

    Args:
        argv: Arguments after ``plan``.
    """
    given = parser().parse_args(argv)
    try:
        found = _planned(given)
        _save(found, given)
        _print(found, given)
    except ConfigError as error:
        print(f"servingclient plan: {error}", file=sys.stderr)
        return _BAD_INPUT
    return _GOOD if found.reachable else _OUT_OF_REACH


def _planned(given: argparse.Namespace) -> Plan:
    times = None if given.service_times is None else recorded(given.service_times)
    return plan(
        qps=given.qps,
        service_time_s=_seconds(given.service_ms),
        service_times=times,
        service_std_s=_seconds(given.service_std_ms),
        p99_goal_s=_seconds(given.p99_ms),
        burst=given.burst,
        arrival_scv=given.arrival_scv,
        overhead_s=_seconds(given.overhead_ms),
        headroom=given.headroom,
        utilisation=given.utilisation,
        row_time_s=_seconds(given.row_ms),
        batch_rows=given.batch_rows,
        payload_bytes=given.payload_bytes,
        route_optimized=given.route_optimized,
        workload_type=given.workload_type,
        gpu_service_time_s=_seconds(given.gpu_service_ms),
        scale_lag_s=given.scale_lag_s,
        client_processes=given.client_processes,
        calls_per_core=given.calls_per_core,
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1e3


def _save(found: Plan, given: argparse.Namespace) -> None:
    for path in (given.svg, given.png):
        if path is not None:
            try:
                found.save_plot(path)
            except OSError as error:
                raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def _print(found: Plan, given: argparse.Namespace) -> None:
    if given.config_json:
        if not found.reachable:
            print(f"servingclient plan: {found.problem}", file=sys.stderr)
            return
        body = found.create_body(
            endpoint=given.endpoint, entity_name=given.model, entity_version=given.version
        )
        show(json.dumps(body, indent=2))
    elif given.json:
        show(json.dumps(found.as_dict(), indent=2))
    else:
        show(f"{found}\n\n{found.plot()}" if given.plot else str(found))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient plan",
        description="How much provisioned concurrency a load needs, and what callers will see.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _load(made.add_argument_group("the load"))
    _model(made.add_argument_group("the model"))
    _endpoint(made.add_argument_group("the endpoint and its callers"))
    _output(made.add_argument_group("what to print"))
    return made


def _load(group: Any) -> None:
    group.add_argument("--qps", type=float, required=True, metavar="N", help="calls a second")
    group.add_argument("--p99-ms", type=float, metavar="MS", help="99 of 100 calls within it")
    group.add_argument(
        "--burst", type=float, default=1.0, metavar="X", help="peak rate, as a multiple of --qps"
    )
    group.add_argument(
        "--arrival-scv",
        type=float,
        default=1.0,
        metavar="X",
        help="squared coefficient of variation of the time between calls; 1 (default) is random",
    )
    group.add_argument("--payload-bytes", type=int, metavar="N", help="size of a request")


def _model(group: Any) -> None:
    time = group.add_mutually_exclusive_group(required=True)
    time.add_argument("--service-ms", type=float, metavar="MS", help="model time of a call, mean")
    time.add_argument(
        "--service-times",
        metavar="FILE",
        help="recorded ones: JSON, CSV, or the _stats.csv of Locust",
    )
    group.add_argument(
        "--service-std-ms",
        type=float,
        metavar="MS",
        help="its standard deviation; half the mean is assumed",
    )
    group.add_argument("--row-ms", type=float, metavar="MS", help="what each row of a request adds")
    group.add_argument(
        "--batch-rows", type=int, default=1, metavar="N", help="rows the client sends together"
    )
    group.add_argument("--workload-type", default="CPU", metavar="TYPE", help="as in the API")
    group.add_argument("--gpu-service-ms", type=float, metavar="MS", help="model time on a GPU")


def _endpoint(group: Any) -> None:
    group.add_argument(
        "--overhead-ms",
        type=float,
        metavar="MS",
        help="besides waiting and the model; the documented bound if not given",
    )
    group.add_argument(
        "--utilisation",
        type=float,
        default=planning.UTILISATION,
        metavar="X",
        help="busy share of the slots that is allowed (%(default)s)",
    )
    group.add_argument(
        "--headroom",
        type=float,
        default=planning.HEADROOM,
        metavar="X",
        help="rise of the rate that must still keep the goal (%(default)s)",
    )
    group.add_argument(
        "--route-optimized",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="decided by the plan if not given",
    )
    group.add_argument("--scale-lag-s", type=float, metavar="S", help="until an added slot serves")
    group.add_argument("--client-processes", type=int, metavar="N", help="that share the load")
    group.add_argument("--calls-per-core", type=float, metavar="N", help="of the client, a second")


def _output(group: Any) -> None:
    kind = group.add_mutually_exclusive_group()
    kind.add_argument("--json", action="store_true", help="all of it as JSON")
    kind.add_argument(
        "--config-json",
        action="store_true",
        help="the body that creates such an endpoint, no more",
    )
    kind.add_argument("--plot", action="store_true", help="add P99 against the rate, as text")
    group.add_argument("--svg", type=Path, metavar="PATH", help="write that plot as SVG")
    group.add_argument("--png", type=Path, metavar="PATH", help="as PNG; needs matplotlib")
    group.add_argument(
        "--endpoint", default="my-endpoint", metavar="NAME", help="for --config-json"
    )
    group.add_argument(
        "--model", default="catalog.schema.model", metavar="NAME", help="for --config-json"
    )
    group.add_argument("--version", default="1", metavar="N", help="of the model, likewise")
