"""``servingclient metrics``: what an endpoint says of itself."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from servingclient.cli import asking
from servingclient.cli.piped import show
from servingclient.telemetry.endpoint_metrics import Distribution, EndpointFigures

_SHARES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))

_EXAMPLES: Final = f"""\
examples:
  servingclient metrics fraud-model
  servingclient metrics fraud-model --json
  servingclient metrics fraud-model --prometheus > /var/lib/node_exporter/fraud.prom

{asking.AUTHENTICATION}

exit codes: 0 there are figures; 1 there are none, and why; 2 the command cannot run like that;
130 Ctrl-C.
"""


def main(argv: Sequence[str]) -> int:
    """Ask, print, and return the exit code.

    Args:
        argv: Arguments after ``metrics``.
    """
    given = parser().parse_args(argv)
    return asking.ended("metrics", lambda: _asked(given))


def _asked(given: argparse.Namespace) -> int:
    with asking.opened(given) as client:
        figures = client.endpoint_figures(timeout=given.timeout)
    if figures.why_none is not None:
        asking.complain("metrics", f"{given.endpoint}: {figures.why_none}.")
        return asking.FAILED
    if given.json:
        show(json.dumps(as_json(given.endpoint, figures), indent=2))
    elif given.prometheus:
        show("\n".join(exposition(given.endpoint, figures)))
    else:
        show("\n".join(table(given.endpoint, figures)))
    return asking.GOOD


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="servingclient metrics",
        description="Show what an endpoint says of itself: its own figures of the last minute.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asking.add_endpoint(made)
    form = made.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument(
        "--prometheus", action="store_true", help="as gauges in Prometheus' text format"
    )
    return made


def _values(figures: EndpointFigures) -> Iterator[tuple[str, str, float | None]]:
    """Name, unit and value of each figure that is a number."""
    yield "cpu", "percent", figures.cpu_percent
    yield "cpu_busiest", "percent", figures.busiest_cpu_percent
    yield "memory", "percent", figures.memory_percent
    yield "gpu", "percent", figures.gpu_percent
    yield "gpu_memory", "percent", figures.gpu_memory_percent
    yield "provisioned_concurrency", "", figures.provisioned_concurrency
    yield "requests_last_minute", "", figures.requests
    yield "errors_4xx_last_minute", "", figures.errors_4xx
    yield "errors_5xx_last_minute", "", figures.errors_5xx


def _distributions(figures: EndpointFigures) -> Iterator[tuple[str, Distribution]]:
    for name, found in (
        ("latency", figures.latency),
        ("queue_time", figures.queue_time),
        ("model_time", figures.model_time),
    ):
        if found is not None:
            yield name, found


def table(endpoint: str, figures: EndpointFigures) -> Iterator[str]:
    """Lines for people."""
    yield f"{endpoint}, as it says itself"
    for name, unit, value in _values(figures):
        if value is not None:
            yield f"  {name.replace('_', ' '):<24} {value:g}{' %' if unit else ''}"
    if figures.qps is not None:
        yield f"  {'requests a second':<24} {figures.qps:.3g}"
    for name, found in _distributions(figures):
        told = "  ".join(f"{part} {_shown(found, share)}" for part, share in _SHARES if found.count)
        yield f"  {name.replace('_', ' '):<24} {told or 'nothing measured'}"
    if figures.skipped:
        yield f"  {figures.skipped} lines of its text could not be read"


def _shown(found: Distribution, share: float) -> str:
    """A quantile; where nothing is known but one end of its bucket, that end."""
    rank, bounds_s, counts = share * found.count, found.bounds_s, found.counts
    if len(bounds_s) > 1 and rank > counts[-2]:
        return f"> {bounds_s[-2] * 1e3:.3g} ms"
    if rank <= counts[0] and bounds_s[0] != math.inf:
        return f"≤ {bounds_s[0] * 1e3:.3g} ms"
    return f"{(found.quantile_s(share) or 0.0) * 1e3:.3g} ms"


def exposition(endpoint: str, figures: EndpointFigures) -> Iterator[str]:
    """Lines for Prometheus: all gauges, as counts are of the last minute."""
    label = f'{{endpoint="{endpoint}"'
    for name, unit, value in _values(figures):
        if value is not None:
            full = f"servingclient_endpoint_{name}" + (f"_{unit}" if unit else "")
            yield f"# TYPE {full} gauge"
            yield f"{full}{label}}} {value!r}"
    for name, found in _distributions(figures):
        full = f"servingclient_endpoint_{name}_seconds"
        yield f"# TYPE {full} gauge"
        for _, share in _SHARES:
            value = found.quantile_s(share)
            if value is not None:
                yield f'{full}{label},quantile="{share}"}} {value!r}'


def as_json(endpoint: str, figures: EndpointFigures) -> dict[str, Any]:
    """All figures under their names; a distribution as its percentiles, in seconds."""
    found = {name: value for name, value in asdict(figures).items() if name != "why_none"}
    for name, distribution in _distributions(figures):
        found[name] = {
            "count": distribution.count,
            "mean_s": distribution.mean_s,
            **{f"{part}_s": distribution.quantile_s(share) for part, share in _SHARES},
        }
    return {"endpoint": endpoint, **found, "qps": figures.qps, "error_rate": figures.error_rate}
