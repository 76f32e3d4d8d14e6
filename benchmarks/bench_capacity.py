"""Whether calls wait as long as a capacity plan says: against simulation, and against the emulator.

Simulation: long, seeded, constant and exponential service. Emulator: real calls in real time
through the async client, at random instants, whatever becomes of those before; several endpoints
side by side, so that a minute holds enough calls for a P99.
"""

from __future__ import annotations

import asyncio
import math
import operator
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import machine
from fleet import Endpoint, emulator
from report import Figure, Part, Table, print_part

from servingclient import AsyncServingClient, Concurrency, Queue, Settings
from servingclient.capacity import simulate, waits

SLOTS = (1, 4, 8, 16, 64)
BUSY = (0.5, 0.6, 0.7, 0.8, 0.9)
SERVICES: dict[str, tuple[float, Callable[[random.Random], float]]] = {
    "exponential": (1.0, lambda chance: chance.expovariate(1.0)),
    "constant": (0.0, lambda _: 1.0),
}
ARRIVALS, QUICK_ARRIVALS = 400_000, 5_000
AT_THE_END = 5
"""So many times the arrivals at 0.9, where one long line counts for thousands of calls."""

MOST_ERROR = 15.0
"""Per cent."""
MOST_NOISE_S = 0.02
"""Half a model time: where an idle call takes longer, something else had a core."""


# ---------------------------------------------------------------- simulation


@dataclass(frozen=True)
class Cell:
    """P99 waits at one size and load, in units of the service time.

    Attributes:
        kind: How service varies.
        slots: The size.
        busy: Busy share of the slots.
        said: By the formula.
        met: In the simulation, or by calls of the emulator.
        calls: How many those were.
        luck: What a simulation of the very same calls met, as a multiple of a long one: a minute
            holds few long lines, and a P99 of some thousand calls is off by a quarter at times.
    """

    kind: str
    slots: int
    busy: float
    said: float
    met: float
    calls: int
    luck: float = 1.0

    @property
    def error(self) -> float:
        """Per cent of what was met, luck apart.

        Where fewer than one in a hundred wait, both must be 0.
        """
        said = self.said * self.luck
        if not self.met:
            return 0.0 if not said else math.inf
        return 100.0 * (said / self.met - 1.0)


def simulated(arrivals: int) -> Iterator[Cell]:
    for kind, (scv, draw) in SERVICES.items():
        for slots in SLOTS:
            for busy in BUSY:
                number = arrivals * (AT_THE_END if busy >= 0.9 else 1)
                said = waits(slots, slots * busy, scv).quantile(0.99)
                yield Cell(kind, slots, busy, said, run(slots, busy, draw, number), number)


def run(slots: int, busy: float, draw: Callable[[random.Random], float], number: int) -> float:
    chance = random.Random(1)
    rate = slots * busy
    gaps = (chance.expovariate(rate) for _ in range(number))
    met = simulate(slots, gaps, iter(lambda: draw(chance), None), discard=number // 20)
    return met.wait_s(0.99)


# ---------------------------------------------------------------- the emulator

SERVICE_S = 0.04
ROW_S = 0.002
ROUNDS, QUICK_ROUNDS = 16, 2
SECONDS, QUICK_SECONDS = 4.0, 0.5
"""Of a round."""
ENDPOINTS = (  # how service varies, slots, busy, how many such endpoints: the busier, the more
    ("constant", 4, 0.5, 1),
    ("constant", 4, 0.7, 1),
    ("constant", 4, 0.9, 4),
    ("exponential", 4, 0.5, 1),
    ("exponential", 4, 0.7, 1),
    ("exponential", 4, 0.9, 4),
    ("constant", 16, 0.8, 1),
    ("exponential", 16, 0.8, 1),
)
SETTINGS = Settings(
    timeout_s=60.0,
    describe=False,
    concurrency=Concurrency(adaptive=False),
    queue=Queue(max_calls=100_000),
)


async def against_emulator(
    endpoint: Endpoint, number_of_rounds: int, seconds: float, long: list[Cell]
) -> tuple[float, list[list[Cell]]]:
    """The quieter half of the rounds, as told by calls to an endpoint that is never busy.

    With them goes how long the slowest of those calls took, beyond its own model time. Another
    process that takes a core for 50 ms makes every call in line wait as long.
    """
    cells = [(kind, slots, busy) for kind, slots, busy, copies in ENDPOINTS for _ in range(copies)]
    async with AsyncExitStack() as stack:
        callers = [Caller(endpoint, number, *cell) for number, cell in enumerate(cells)]
        for caller in callers:
            await stack.enter_async_context(caller.client)
        await asyncio.gather(*(caller.connect() for caller in callers))
        await asyncio.gather(*(caller.time_idle() for caller in callers))
        probe = Caller(endpoint, len(cells), "constant", None, 0.0)
        await stack.enter_async_context(probe.client)
        rounds = []
        for _ in range(number_of_rounds):
            slowest_s, *found = await asyncio.gather(
                probe.slowest(seconds), *(caller.calls(seconds) for caller in callers)
            )
            rounds.append((slowest_s, in_cells(cells, found, long)))
    rounds.sort(key=operator.itemgetter(0))
    quiet = rounds[: number_of_rounds // 2]
    return quiet[-1][0], [found for _, found in quiet]


def in_cells(cells: list[tuple[str, int, float]], found: list[Met], long: list[Cell]) -> list[Cell]:
    by_cell: dict[tuple[str, int, float], list[Met]] = {}
    for cell, met in zip(cells, found, strict=True):
        by_cell.setdefault(cell, []).append(met)
    return [judged(*cell, met, long) for cell, met in by_cell.items()]


class Met(NamedTuple):
    """Waits of the calls of one endpoint, and of the same calls simulated; in seconds."""

    real_s: list[float]
    same_s: list[float]


def judged(kind: str, slots: int, busy: float, met: list[Met], long: list[Cell]) -> Cell:
    real, same = (
        p99([one for waits_s in (m[at] for m in met) for one in waits_s]) / SERVICE_S
        for at in (0, 1)
    )
    (ideal,) = (cell for cell in long if (cell.kind, cell.slots, cell.busy) == (kind, slots, busy))
    calls = sum(len(one.real_s) for one in met)
    return Cell(kind, slots, busy, ideal.said, real, calls, same / ideal.met)


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


class Caller:
    """Calls one endpoint at random instants.

    What a call waited is what it took less its own model time and what an idle call takes besides.
    An exponential time is made of rows of 2 ms each.
    """

    def __init__(
        self, endpoint: Endpoint, number: int, kind: str, slots: int | None, busy: float
    ) -> None:
        name = f"cell-{number}"
        endpoint.add(name, slots=slots, queue=100_000, row_time_s=ROW_S)
        self.client = AsyncServingClient(
            name, host=endpoint.host, token=endpoint.token, settings=SETTINGS
        )
        self._chance = random.Random(number)
        self._kind, self._slots, self._rate = kind, slots or 0, (slots or 0) * busy / SERVICE_S
        self._idle_s = 0.0

    async def connect(self) -> None:
        """Open connections enough for a line."""
        await asyncio.gather(*(self._call(1) for _ in range(4 * self._slots)))

    async def time_idle(self) -> None:
        """Find out what a call takes that meets nobody else."""
        rows = round(SERVICE_S / ROW_S)
        self._idle_s = statistics.median([await self._call(rows) for _ in range(20)])

    async def calls(self, seconds: float) -> Met:
        """What each call waited, here and in a simulation of the same calls."""
        waited_s: list[float] = []
        gaps_s: list[float] = []
        services_s: list[float] = []

        async def counted(rows: int) -> None:
            waited_s.append(max(await self._call(rows) - self._idle_s, 0.0))

        running: set[asyncio.Task[None]] = set()
        began_s, next_s = time.perf_counter(), 0.0
        while next_s < seconds:
            await asyncio.sleep(began_s + next_s - time.perf_counter())
            rows = rows_of(self._kind, self._chance)
            task = asyncio.ensure_future(counted(rows))
            running.add(task)
            task.add_done_callback(running.discard)
            services_s.append(rows * ROW_S)
            gaps_s.append(self._chance.expovariate(self._rate))
            next_s += gaps_s[-1]
        await asyncio.gather(*running)
        return Met(waited_s, list(simulate(self._slots, [0.0, *gaps_s], services_s).waits_s))

    async def slowest(self, seconds: float) -> float:
        """The longest of calls made one after the other."""
        until_s, slowest_s = time.perf_counter() + seconds, 0.0
        while time.perf_counter() < until_s:
            slowest_s = max(slowest_s, await self._call(1))
        return slowest_s

    async def _call(self, rows: int) -> float:
        """Seconds it took, less its own model time."""
        sent_s = time.perf_counter()
        await self.client.predict({"inputs": [0.0] * rows})
        return time.perf_counter() - sent_s - rows * ROW_S


def rows_of(kind: str, chance: random.Random) -> int:
    rows = SERVICE_S / ROW_S
    if kind == "constant":
        return round(rows)
    # a geometric number: the exponential among whole numbers, with this mean
    return 1 + int(math.log(1.0 - chance.random()) / math.log(1.0 - 1.0 / rows))


# ---------------------------------------------------------------- judging


def part(cores: machine.Cores, *, quick: bool) -> Part:
    long = list(simulated(QUICK_ARRIVALS if quick else ARRIVALS))
    with emulator(cores.server) as endpoint:
        number, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
        slowest_s, rounds = asyncio.run(against_emulator(endpoint, number, seconds, long))
    noisy = slowest_s > MOST_NOISE_S
    real = [Judged(list(cells)) for cells in zip(*rounds, strict=True)]
    simulation = [Judged([cell]) for cell in long]
    return Part(
        "Capacity plan",
        "P99 of the wait for a slot as the plan has it, against simulated calls (seed 1) and "
        f"against calls of the emulator in real time, the quieter half of {number} rounds of "
        f"{seconds:g} s, model time {SERVICE_S * 1e3:g} ms. Luck is what a simulation of the "
        "emulator's very same calls met, as a multiple of the long simulation; errors are without "
        "it. A figure is the worst cell. In these rounds a call to an idle endpoint took "
        f"{slowest_s * 1e3:.0f} ms more than its model time at the worst"
        + (": the machine was not quiet, take nothing from the emulator's cells." * noisy or "."),
        [
            figure(kind, where, cells)
            for where, cells in (("simulation", simulation), ("emulator", real))
            for kind in SERVICES
        ],
        [table("Simulated", simulation), table("Emulator", real)],
        {"simulated": summary(simulation), "emulator": summary(real)},
    )


@dataclass(frozen=True)
class Judged:
    """One cell, in all its rounds."""

    rounds: list[Cell]

    @property
    def kind(self) -> str:
        return self.rounds[0].kind

    @property
    def errors(self) -> list[float]:
        return [cell.error for cell in self.rounds]

    def median(self, name: str) -> float:
        return statistics.median(getattr(cell, name) for cell in self.rounds)


def figure(kind: str, where: str, among: list[Judged]) -> Figure:
    worst = max(
        (one for one in among if one.kind == kind), key=lambda one: abs(one.median("error"))
    )
    sign = -1.0 if worst.median("error") < 0.0 else 1.0
    return Figure(
        f"capacity_p99_wait_error_pct_{kind}_{where}",
        f"P99 wait, {kind} service, {where}: worst error",
        [sign * error for error in worst.errors],
        MOST_ERROR,
        at_most=True,
        unit="%",
    )


def table(title: str, cells: list[Judged]) -> Table:
    columns = ("service", "slots", "busy", "P99 wait, plan", "met", "luck", "error", "calls")
    rows = []
    for one in cells:
        first = one.rounds[0]
        rows.append(
            (
                one.kind,
                f"{first.slots}",
                f"{first.busy:.0%}",
                f"{first.said:.3f}",
                f"{one.median('met'):.3f}",
                f"{one.median('luck'):.2f}",
                f"{one.median('error'):+.1f} %",
                f"{sum(cell.calls for cell in one.rounds):,}",
            )
        )
    return Table(f"{title}; waits in units of the mean service time", columns, rows)


def summary(cells: list[Judged]) -> dict[str, Any]:
    return {
        f"{one.kind}_{one.rounds[0].slots}_{one.rounds[0].busy:g}": {
            "said": round(one.rounds[0].said, 4),
            "met": [round(cell.met, 4) for cell in one.rounds],
            "luck": [round(cell.luck, 3) for cell in one.rounds],
            "calls": [cell.calls for cell in one.rounds],
        }
        for one in cells
    }


def main() -> None:
    print_part(part(machine.pin(), quick="--quick" in sys.argv))


if __name__ == "__main__":
    main()
