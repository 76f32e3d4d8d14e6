"""All benchmarks in one run, every figure against its target.

    python benchmarks/bench.py [--only encode,batching] [--quick] [--json PATH] [--markdown PATH]

``benchmarks/README.md`` says what each part measures and how to read the figures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import bench_batching
import bench_call
import bench_capacity
import bench_chat
import bench_encode
import bench_enrichment
import bench_exporters
import bench_hedge
import bench_import
import bench_loadtest
import bench_map
import bench_overload
import bench_redis
import bench_telemetry
import machine
import report
from report import Part

PARTS: Mapping[str, Callable[..., Part]] = {
    "call": bench_call.part,
    "chat": bench_chat.part,
    "encode": bench_encode.part,
    "batching": bench_batching.part,
    "map": bench_map.part,
    "overload": bench_overload.part,
    "hedge": bench_hedge.part,
    "capacity": bench_capacity.part,
    "telemetry": bench_telemetry.part,
    "enrichment": bench_enrichment.part,
    "redis": bench_redis.part,
    "exporters": bench_exporters.part,
    "loadtest": bench_loadtest.part,
    "import": bench_import.part,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="All benchmarks, every figure with its target")
    parser.add_argument("--only", help=f"parts, separated by commas: {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="seconds a part: a look, no finding")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write a section a part")
    options = parser.parse_args()
    options.parts = options.only.split(",") if options.only else possible()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def possible() -> list[str]:
    """All parts, but for one that needs a server this machine has not."""
    if shutil.which("redis-server") is not None:
        return list(PARTS)
    print("redis is left out: no redis-server on the path (Debian: apt-get install redis-server)")
    return [name for name in PARTS if name != "redis"]


def main() -> None:
    options = arguments()
    cores = machine.pin()  # before anything starts a thread
    machine.allow_many_files()
    done: dict[str, Part] = {}
    for name in options.parts:
        started = time.monotonic()
        done[name] = PARTS[name](cores, quick=options.quick)
        report.print_part(done[name])
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        if options.markdown:
            report.put_section(options.markdown, report.as_markdown(done[name]))
    figures = [figure for part in done.values() for figure in part.figures]
    print(f"\n## All targets\n{report.figures_text(figures)}")
    if options.json:
        text = json.dumps(report.as_json(done, quick=options.quick), indent=2)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
