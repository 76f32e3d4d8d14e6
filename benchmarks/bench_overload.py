"""What eight clients do to an endpoint in trouble, and how soon they are well again.

The real client against the emulator in a process of its own, in real time: an outage, a brown-out,
and 429 while the endpoint scales up. Beside each runs a control, calls that retry without quota and
without limit: where it does no harm, the meter measures nothing.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import machine
from fleet import CLIENTS, Endpoint, Told, emulator, play, side_by_side
from report import Figure, Part, Table, number, print_part

from servingclient import Concurrency, Retry, Settings
from servingclient.settings import Pool

SERVICE_S = 0.2
WINDOW_S = 5.0

MOST_OUTAGE_AMPLIFICATION = 1.10
LEAST_NAIVE_AMPLIFICATION = 3.5
LEAST_RAMP_GOODPUT = 0.85
MOST_RAMP_AMPLIFICATION = 1.30
MOST_RAMP_RECOVERY_S = 15.0

OURS = Settings(timeout_s=5.0, describe=False)
NAIVE = OURS.replace(retry=Retry(quota_capacity=10**9), concurrency=Concurrency(adaptive=False))


@dataclass(frozen=True)
class Pace:
    """How long things take; a quick look runs through them at a multiple of the speed."""

    speed: float

    def __call__(self, seconds: float) -> float:
        return seconds / self.speed


FULL, QUICK = Pace(1.0), Pace(15.0)


# ---------------------------------------------------------------- the scenarios


def outage(endpoint: Endpoint, pace: Pace) -> dict[str, Awaitable[Told]]:
    """60 s of 503, ten calls a second for each client."""
    found: dict[str, Awaitable[Told]] = {}
    for who, settings in {"ours": OURS, "naive": NAIVE}.items():
        name = f"outage-{who}"
        endpoint.add(name)
        endpoint.fail(name)
        # the quota is what bounds it, so a quick look needs as many calls
        per_s = 80.0 * pace.speed
        found[name] = play(endpoint, name, settings, per_s=per_s, seconds=pace(60.0))
    return found


WELL_SLOTS, ILL_SLOTS, BROWN_OUT_S = 10, 4, 0.16
"""62 requests a second, 25 while it is ill; 50 are asked for."""


def brown_out(endpoint: Endpoint, pace: Pace) -> dict[str, Awaitable[Told]]:
    """It queues instead of refusing, and runs to its end what its caller has given up on.

    A try gets a second and is made again where it may be: what a hasty caller does, all alike.
    """
    once = replace(OURS.retry, max_attempts=1)
    found: dict[str, Awaitable[Told]] = {}
    for who, given in {"no-retry": OURS.replace(retry=once), "ours": OURS, "naive": NAIVE}.items():
        name = f"brown-out-{who}"
        endpoint.add(name, slots=WELL_SLOTS, queue=100_000, service_time_s=BROWN_OUT_S)
        settings = given.replace(
            pool=Pool(attempt_timeout_s=1.0), retry=replace(given.retry, retry_read_timeout=True)
        )
        happens = (
            (pace(10.0), partial(endpoint.scale, name, ILL_SLOTS, 0.0)),
            (pace(20.0), partial(endpoint.scale, name, WELL_SLOTS, 0.0)),
        )
        found[name] = play(
            endpoint, name, settings, per_s=50.0, seconds=pace(60.0), happens=happens
        )
    return found


def ramp(endpoint: Endpoint, pace: Pace) -> dict[str, Awaitable[Told]]:
    """From 80 to 320 requests a second in 120 s; 240 are asked for, what is too much gets 429."""
    found: dict[str, Awaitable[Told]] = {}
    hasty = NAIVE.replace(retry=replace(NAIVE.retry, throttled_base_s=0.0))
    for who, settings in {"ours": OURS, "naive": hasty}.items():
        name = f"ramp-{who}"
        endpoint.add(name, slots=16, queue=0, service_time_s=SERVICE_S)
        happens = ((pace(10.0), partial(endpoint.scale, name, 64, pace(120.0))),)
        found[name] = play(
            endpoint, name, settings, per_s=240.0, seconds=pace(150.0), happens=happens
        )
    return found


def ramp_could() -> float:
    """Good calls a second that the ramp allows, on average over its 120 s."""
    return sum(min(80.0 + 2.0 * second, 240.0) for second in range(120)) / 120


# ---------------------------------------------------------------- judging


def part(cores: machine.Cores, *, quick: bool) -> Part:
    pace = QUICK if quick else FULL
    with emulator(cores.server) as endpoint:
        lighter = {**outage(endpoint, pace), **brown_out(endpoint, pace)}
        told = asyncio.run(side_by_side(lighter))
        told |= asyncio.run(side_by_side(ramp(endpoint, pace)))
    return Part(
        "Overload",
        f"{CLIENTS} async clients in one process, 5 s a call, calls arriving at random whatever "
        "becomes of those before; the emulator in another process, in real time"
        + (f", {pace.speed:g} times as fast. " if quick else ". ")
        + "Outage: 503 for 60 s, 80 calls/s. Brown-out: an endpoint that queues falls from 62 to "
        "25 requests/s for 10 s, 50 calls/s, tries of 1 s. Ramp: slots for 80 requests/s grow to "
        "320 in 120 s, the rest gets 429, 240 calls/s. Naive: retries without quota, no limit.",
        figures(told, pace),
        [table(told, pace)],
        {name: summary(name, one, pace) for name, one in told.items()},
    )


STARTS_S = {"brown": 20.0, "ramp": 90.0}
"""From when on a scenario's calls should succeed again; an outage has no such instant."""


def recovery_s(name: str, told: Told, pace: Pace) -> float:
    """In seconds of the scenario."""
    start_s = STARTS_S[name.split("-", maxsplit=1)[0]]
    return told.recovery_s(pace(start_s), pace(WINDOW_S)) * pace.speed


def ramp_goodput(told: Told, pace: Pace) -> float:
    """As a share of what could be."""
    return told.goodput(pace(10.0), pace(130.0)) / ramp_could()


def figures(told: dict[str, Told], pace: Pace) -> list[Figure]:
    plain_s = recovery_s("brown-out-no-retry", told["brown-out-no-retry"], pace)
    found = [
        (
            "outage_amplification",
            "outage: requests a call",
            told["outage-ours"].amplification,
            MOST_OUTAGE_AMPLIFICATION,
            True,
            "x",
        ),
        (
            "outage_amplification_naive",
            "the same of the control",
            told["outage-naive"].amplification,
            LEAST_NAIVE_AMPLIFICATION,
            False,
            "x",
        ),
        (
            "brown_out_recovery_s",
            f"brown-out: recovery, where without retries it takes {plain_s:g} s",
            recovery_s("brown-out-ours", told["brown-out-ours"], pace),
            1.2 * plain_s + 5.0,
            True,
            "s",
        ),
        (
            "ramp_429_goodput_share",
            "429 ramp: good calls as a share of what could be",
            ramp_goodput(told["ramp-ours"], pace),
            LEAST_RAMP_GOODPUT,
            False,
            "x",
        ),
        (
            "ramp_429_amplification",
            "429 ramp: requests a call",
            told["ramp-ours"].amplification,
            MOST_RAMP_AMPLIFICATION,
            True,
            "x",
        ),
        (
            "ramp_429_recovery_s",
            "429 ramp: recovery once it holds the load",
            recovery_s("ramp-ours", told["ramp-ours"], pace),
            MOST_RAMP_RECOVERY_S,
            True,
            "s",
        ),
    ]
    return [
        Figure(name, what, [value], target, at_most, unit)
        for name, what, value, target, at_most, unit in found
    ]


def summary(name: str, told: Told, pace: Pace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "calls": len(told.ended),
        "requests": told.requests,
        "amplification": round(told.amplification, 3),
        "outcomes": dict(Counter(what for _, what in told.ended)),
    }
    if not name.startswith("outage"):
        seconds = recovery_s(name, told, pace)
        found["recovery_s"] = None if math.isinf(seconds) else seconds
    return found


def table(told: dict[str, Told], pace: Pace) -> Table:
    rows = []
    for name, one in told.items():
        seconds = math.nan if name.startswith("outage") else recovery_s(name, one, pace)
        shown = "" if math.isnan(seconds) else "never" if math.isinf(seconds) else f"{seconds:g} s"
        rows.append(
            (
                name,
                f"{len(one.ended):,}",
                number(one.amplification),
                f"{sum(what == 'ok' for _, what in one.ended) / len(one.ended):.1%}",
                shown,
                one.outcomes(),
            )
        )
    columns = ("", "calls", "requests a call", "good", "well again after", "how calls ended")
    return Table("An endpoint in trouble", columns, rows)


def main() -> None:
    print_part(part(machine.pin(), quick="--quick" in sys.argv))


if __name__ == "__main__":
    main()
